"""The family `phoenix`: models of the BLOOM architecture, and the conversation template that Phoenix and Chimera speak."""
