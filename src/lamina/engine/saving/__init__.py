"""Save images, trees and streams."""
