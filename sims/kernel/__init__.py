"""The second engine: scenarios on kernel namespaces, with daemon processes, in real time."""
