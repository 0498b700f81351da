"""What a copy from one repository to another is made of."""
