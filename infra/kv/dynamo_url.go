package kv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The tables of a cluster are a prefix and one of these.
const (
	controlSuffix = "-control"
	offsetsSuffix = "-offsets"
)

const dynamoURL = "dynamodb://table-prefix?region=&endpoint=&create=true"

var dynamoParams = []string{"create", "endpoint", "region"}

// ParseDynamoURL reads dynamodb://table-prefix?region=&endpoint=&create=true into the
// settings for OpenDynamoTables. A parameter it does not know is an error.
func ParseDynamoURL(raw string) (DynamoConfig, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return DynamoConfig{}, fmt.Errorf("table URL: %w: want %s", err, dynamoURL)
	}
	if u.Scheme != "dynamodb" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return DynamoConfig{}, fmt.Errorf("table URL %q: want %s", u.Redacted(), dynamoURL)
	}
	cfg := DynamoConfig{Table: u.Host}
	if err := cfg.setParams(u.RawQuery); err != nil {
		return DynamoConfig{}, fmt.Errorf("table URL %q: %w", u.Redacted(), err)
	}
	if err := cfg.forTable(controlSuffix).Validate(); err != nil {
		return DynamoConfig{}, fmt.Errorf("table URL %q: %w", u.Redacted(), err)
	}
	return cfg, nil
}

func (c *DynamoConfig) setParams(query string) error {
	params, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	for name, values := range params {
		switch {
		case !slices.Contains(dynamoParams, name):
			return fmt.Errorf("unknown parameter %q, known are: %s", name, strings.Join(dynamoParams, ", "))
		case len(values) > 1:
			return fmt.Errorf("parameter %q is given %d times", name, len(values))
		}
	}
	c.Region, c.Endpoint = params.Get("region"), params.Get("endpoint")
	if create := params.Get("create"); create != "" {
		if c.Create, err = strconv.ParseBool(create); err != nil {
			return fmt.Errorf("create=%q: want true or false", create)
		}
	}
	return nil
}

func (c DynamoConfig) forTable(suffix string) DynamoConfig {
	c.Table += suffix
	return c
}

// OpenDynamoControl opens the control table of a cluster alone, <cfg.Table>-control, as OpenDynamoDB does.
func OpenDynamoControl(ctx context.Context, cfg DynamoConfig) (Store, error) {
	return OpenDynamoDB(ctx, cfg.forTable(controlSuffix))
}

// OpenDynamoTables opens the two tables of a cluster, <cfg.Table>-control and
// <cfg.Table>-offsets, as OpenDynamoDB does. It returns both or an error.
func OpenDynamoTables(ctx context.Context, cfg DynamoConfig) (control, offsets Store, err error) {
	var opening errgroup.Group
	open := func(s *Store, suffix string) {
		opening.Go(func() (err error) {
			*s, err = OpenDynamoDB(ctx, cfg.forTable(suffix))
			return err
		})
	}
	open(&control, controlSuffix)
	open(&offsets, offsetsSuffix)
	if err := opening.Wait(); err != nil {
		for _, s := range []Store{control, offsets} {
			if s != nil {
				err = errors.Join(err, s.Close())
			}
		}
		return nil, nil, err
	}
	return control, offsets, nil
}
