"""The only code that touches the cryptography library."""
