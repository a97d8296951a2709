"""The server, the one connection to it, and every touch of DataJoint's private parts."""
