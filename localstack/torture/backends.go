package main

import (
	"context"
	"strings"

	"github.com/forebaylog/forebay/localstack/rig"
)

// startStore returns what starts the object store of a cluster, a MinIO server.
func startStore(binary string) func(context.Context, string) (*rig.Backend, error) {
	return func(ctx context.Context, dir string) (*rig.Backend, error) {
		m, err := rig.StartMinIO(ctx, binary, dir)
		if err != nil {
			return nil, err
		}
		return &rig.Backend{Addr: m.Addr, Env: m.Env(), Close: m.Kill}, nil
	}
}

// startTable returns what starts the table service of a cluster, dynalite, which keeps its
// tables in memory.
func startTable(dir string) func(context.Context, string) (*rig.Backend, error) {
	return func(ctx context.Context, _ string) (*rig.Backend, error) {
		d, err := rig.StartDynalite(ctx, dir)
		if err != nil {
			return nil, err
		}
		return &rig.Backend{Addr: strings.TrimPrefix(d.Endpoint, "http://"), Env: rig.DynaliteEnv, Close: d.Kill}, nil
	}
}
