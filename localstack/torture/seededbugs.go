//go:build seededbugs

package main

import (
	"fmt"
	"os"

	"github.com/forebaylog/forebay/infra/seeded"
)

// The environment plants a bug in a build that is made for that.
func init() {
	if err := seeded.Plant(os.Getenv(seededBug)); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(exitBroken)
	}
}
