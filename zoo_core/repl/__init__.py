"""The interactive chat: reading lines, slash commands, showing answers. All thinking is the session's."""
