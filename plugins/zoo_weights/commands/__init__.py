"""The commands of the plugin, one module each, imported when they are used."""
