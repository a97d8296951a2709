"""Real workers, real signals: what is killed, stopped, cut off or filled up must lose nothing and double nothing."""
