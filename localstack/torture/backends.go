package main

import (
	"context"
	"errors"

	"github.com/forebaylog/forebay/localstack/rig"
)

// startStore returns what starts the object store of a cluster.
func startStore(config) func(context.Context, string) (*rig.Backend, error) {
	return func(context.Context, string) (*rig.Backend, error) {
		return nil, errors.New("there is no object store yet")
	}
}

// startTable returns what starts the table service of a cluster.
func startTable(config) func(context.Context, string) (*rig.Backend, error) {
	return func(context.Context, string) (*rig.Backend, error) {
		return nil, errors.New("there is no table service yet")
	}
}
