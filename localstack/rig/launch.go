package rig

import (
	"cmp"
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
			"--object-store", at.objects(bucket, prefix), "--metadata", at.metadata(prefix) + "&create=true",
		}
		return LaunchForebay(ctx, cfg)
	}
}

// FunctionEnv is what a function needs beside Cluster.Env to work on the stores that LaunchBrokers gives the brokers,
// which it reaches by the ways of a place. NAME=value.
func FunctionEnv(at Place, bucket, prefix string) []string {
	return []string{"FOREBAY_OBJECT_STORE=" + at.objects(bucket, prefix), "FOREBAY_METADATA=" + at.metadata(prefix)}
}

func (p Place) objects(bucket, prefix string) string {
	return "minio://" + p.Store + "/" + bucket + "/" + prefix
}

func (p Place) metadata(prefix string) string {
	return "dynamodb://" + prefix + "?region=us-east-1&endpoint=http://" + p.Table
}

// at is the configuration of a place.
func (cfg ForebayConfig) at(p Place, env []string) ForebayConfig {
	cfg.Name, cfg.Dir, cfg.Addr, cfg.Admin, cfg.Env = p.Name, p.Dir, p.Addr, p.Admin, slices.Concat(cfg.Env, env)
	cfg.Log, cfg.HTTP = p.Log, cmp.Or(p.HTTP, cfg.HTTP)
	return cfg
}
