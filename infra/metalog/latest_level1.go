//go:build metadatalevel1

package metalog

// LatestLevel of a build that stands for the release before, with which upgrades are tested.
const LatestLevel int16 = 1
