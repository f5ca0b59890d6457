//go:build race

package admin

// raceEnabled: the race detector makes everything several times slower.
const raceEnabled = true
