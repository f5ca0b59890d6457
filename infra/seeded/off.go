//go:build !seededbugs

package seeded

// Enabled reports whether a bug is planted: never, in this build.
func Enabled(string) bool { return false }
