// Command api is a Lambda function that serves the admin API, behind a function URL with the auth type AWS_IAM or an HTTP
// API with IAM authorization. Its settings are in the environment: the stores, as of the other functions, and
// FOREBAY_ADMIN_READERS and FOREBAY_ADMIN_WRITERS, which ARNs may read and which may also change things; and
// FOREBAY_NUM_PARTITIONS and FOREBAY_DEFAULT_REPLICATION_FACTOR, the brokers' settings for new topics.
package main

import (
	"context"
	"log/slog"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/functions/internal/emf"
	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/functions/internal/gateway"
	"github.com/forebaylog/forebay/functions/internal/stores"
)

func main() { function.Main(open) }

func open(ctx context.Context, env *function.Env, log *slog.Logger) (func(context.Context, gateway.Request) (gateway.Response, error), error) {
	settings := admin.Settings{ // of new topics, which a function cannot ask brokers for
		Partitions: int32(env.Positive("FOREBAY_NUM_PARTITIONS", 32)),
		Replicas:   int16(env.Positive("FOREBAY_DEFAULT_REPLICATION_FACTOR", 16)),
	}
	cfg := admin.Config{Logger: log, SessionTTL: env.Duration("FOREBAY_SESSION_TTL"), Settings: func() admin.Settings { return settings }}
	if err := env.Err(); err != nil {
		return nil, err
	}
	open, err := stores.Open(ctx, env.Text, log)
	if err != nil {
		return nil, err
	}
	cfg.Metadata, cfg.Offsets, cfg.Objects, cfg.WAL = open.Control, open.Offsets, open.Objects, open.WAL
	access := gateway.ParseAccess(env.Text("FOREBAY_ADMIN_READERS"), env.Text("FOREBAY_ADMIN_WRITERS"))
	h := admin.Guard(admin.New(cfg), access.Who)
	return gateway.Serve(gateway.Logged(h, emf.Origin{Cluster: open.Cluster, Function: "api"}, log)), nil
}
