"""What an examination found, as rows; the formats that they are written in, and how two are compared."""
