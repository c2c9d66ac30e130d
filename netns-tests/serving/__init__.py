"""What the tests of the server's features, of hostile traffic and of host state share."""
