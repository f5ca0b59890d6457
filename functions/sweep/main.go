// Command sweep is a Lambda function that cleans up after dead brokers, and hands what they led to live ones.
// Its settings are in the environment: see package maintenance.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/forebaylog/forebay/functions/maintenance"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	h, err := maintenance.Open(context.Background(), maintenance.Sweep, os.Getenv, log)
	if err != nil {
		log.Error("cannot start", "err", err)
		os.Exit(1)
	}
	lambda.Start(h.Handle)
}
