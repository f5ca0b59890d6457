// Command api is a Lambda function that serves the admin API, behind a function URL with the auth type AWS_IAM or an HTTP
// API with IAM authorization. Its settings are in the environment: the stores, as of the other functions, and
// FOREBAY_ADMIN_READERS and FOREBAY_ADMIN_WRITERS, which ARNs may read and which may also change things; and
// FOREBAY_NUM_PARTITIONS and FOREBAY_DEFAULT_REPLICATION_FACTOR, the brokers' settings for new topics.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/forebaylog/forebay/functions/admin"
	"github.com/forebaylog/forebay/functions/internal/gateway"
	"github.com/forebaylog/forebay/functions/internal/stores"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	h, err := handler(context.Background(), os.Getenv, log)
	if err != nil {
		log.Error("cannot start", "err", err)
		os.Exit(1)
	}
	lambda.Start(gateway.Serve(h))
}

// handler opens the stores that the environment names, for as long as the process lives.
func handler(ctx context.Context, getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	cfg := admin.Config{Logger: log}
	if text := getenv("FOREBAY_SESSION_TTL"); text != "" {
		var err error
		if cfg.SessionTTL, err = time.ParseDuration(text); err != nil {
			return nil, err
		}
	}
	settings, err := defaults(getenv)
	if err != nil {
		return nil, err
	}
	cfg.Settings = func() admin.Settings { return settings }
	open, err := stores.Open(ctx, getenv, log)
	if err != nil {
		return nil, err
	}
	cfg.Metadata, cfg.Offsets, cfg.Objects, cfg.WAL = open.Control, open.Offsets, open.Objects, open.WAL
	access := gateway.ParseAccess(getenv("FOREBAY_ADMIN_READERS"), getenv("FOREBAY_ADMIN_WRITERS"))
	return gateway.Logged(admin.Guard(admin.New(cfg), access.Who), "api", log), nil
}

// defaults are those of new topics, which a function cannot ask brokers for.
func defaults(getenv func(string) string) (s admin.Settings, err error) {
	number := func(name string, bits int) (n int64) {
		if text := getenv(name); text != "" && err == nil {
			if n, err = strconv.ParseInt(text, 10, bits); err != nil || n <= 0 {
				err = fmt.Errorf("read %s %q: want a number above zero", name, text)
			}
		}
		return n
	}
	s.Partitions = int32(number("FOREBAY_NUM_PARTITIONS", 32))
	s.Replicas = int16(number("FOREBAY_DEFAULT_REPLICATION_FACTOR", 16))
	return s, err
}
