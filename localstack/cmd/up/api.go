package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Limits of the admin API's function: until it asks for its first invocation, and of each.
const (
	initLimit   = 30 * time.Second
	invokeLimit = 30 * time.Second
)

// startAPI starts the function api on the cluster's stores, as Lambda would, and its function URL, which knows one
// caller.
func (s *stack) startAPI() (err error) {
	env := append(s.cluster.Env(), rig.FunctionEnv(s.cluster.Brokers()[0].Place, rig.MinIOBucket, tablePrefix)...)
	cfg := rig.LambdaConfig{
		Bootstrap: s.cfg.api, Env: env, Name: "the admin API",
		Attachment: rig.Attachment{Apart: true, Log: filepath.Join(s.cfg.dir, "api.log")},
	}
	if s.api, err = cfg.Start(s.life); err != nil {
		return fmt.Errorf("start the admin API: %w", err)
	}
	ctx, cancel := context.WithTimeout(s.life, initLimit)
	defer cancel()
	if _, err := s.api.Init(ctx); err != nil {
		return fmt.Errorf("start the admin API: %w", err)
	}
	caller := rig.Identity{
		AccessKey: accessKey, Secret: secretKey, ARN: "arn:aws:iam::000000000000:user/" + accessKey, Allowed: true,
	}
	front := rig.FunctionURLConfig{Limit: invokeLimit, Known: []rig.Identity{caller}}
	if !s.cfg.freePorts {
		front.Addr = loopback(s.cfg.apiPort)
	}
	s.url, err = front.Serve(s.life, s.api)
	return err
}

func (s *stack) stopAPI() error {
	var errs []error
	if s.url != nil {
		errs = append(errs, s.url.Close())
	}
	if s.api != nil {
		errs = append(errs, s.api.Close())
	}
	return errors.Join(errs...)
}

// eventsAddr is where a broker takes events over HTTP.
func (s *stack) eventsAddr(id int32) (string, error) {
	if s.cfg.freePorts {
		return rig.FreeAddr()
	}
	return loopback(s.cfg.httpPort + int(id) - 1), nil
}
