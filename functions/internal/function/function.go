// Package function is what the mains of all functions do alike: they log JSON, have something opened that the
// environment tells of, and answer invocations with it until Lambda ends the process. Nothing else reads the environment.
package function

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

// Main answers invocations with what open returns, and does not return. A function that cannot be opened ends with an
// error in the log, and Lambda starts it anew with the next invocation.
func Main[In, Out any](open func(context.Context, *Env, *slog.Logger) (func(context.Context, In) (Out, error), error)) {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	handle, err := open(context.Background(), NewEnv(os.Getenv), log)
	if err != nil {
		log.Error("cannot start", "err", err)
		os.Exit(1)
	}
	lambda.Start(handle)
}
