package rig

import (
	"context"
	"slices"
	"strconv"
)

// LaunchDev starts every place as a node of its own, with everything embedded.
func LaunchDev(base ForebayConfig) Launch {
	return func(ctx context.Context, at Place, env []string) (*Node, error) {
		cfg := base.at(at, env)
		return LaunchForebay(ctx, cfg)
	}
}

// LaunchBrokers starts places as brokers of one cluster, whose tables begin with prefix and
// whose objects are in bucket.
func LaunchBrokers(base ForebayConfig, bucket, prefix string) Launch {
	return func(ctx context.Context, at Place, env []string) (*Node, error) {
		cfg := base.at(at, env)
		cfg.Command = []string{
			"broker", "--node-id", strconv.Itoa(int(at.ID)), "--rack", at.Rack, "--data-dir", at.Dir,
			"--object-store", "minio://" + at.Store + "/" + bucket + "/" + prefix,
			"--metadata", "dynamodb://" + prefix + "?region=us-east-1&create=true&endpoint=http://" + at.Table,
		}
		return LaunchForebay(ctx, cfg)
	}
}

// at is the configuration of a place.
func (cfg ForebayConfig) at(p Place, env []string) ForebayConfig {
	cfg.Name, cfg.Dir, cfg.Addr, cfg.Admin, cfg.Env = p.Name, p.Dir, p.Addr, p.Admin, slices.Concat(cfg.Env, env)
	cfg.Log = p.Log
	return cfg
}
