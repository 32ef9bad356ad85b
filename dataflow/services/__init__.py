"""What the processes share: the contract of a service, a connection that lasts, and jobs whose time has come."""
