//go:build !metadatalevel1

package metalog

// LatestLevel is the highest level of the metadata that this release supports.
const LatestLevel int16 = 2
