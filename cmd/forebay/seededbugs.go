//go:build seededbugs

package main

import (
	"fmt"
	"os"

	"github.com/forebaylog/forebay/infra/seeded"
)

// FOREBAY_SEEDED_BUG plants a bug in a build that is made for that.
func init() {
	if err := seeded.Plant(os.Getenv("FOREBAY_SEEDED_BUG")); err != nil {
		fmt.Fprintln(os.Stderr, "forebay:", err)
		os.Exit(exitUsage)
	}
}
