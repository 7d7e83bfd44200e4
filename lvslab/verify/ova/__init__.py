"""Rules for appliances: the archive, its manifest, the OVF and the devices that it describes."""
