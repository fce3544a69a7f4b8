"""The Ray side: starting or joining a cluster, the actors that work, the driver that hands work out."""
