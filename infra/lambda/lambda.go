// Package lambda invokes AWS Lambda functions and waits for their answers. It is a driver: it
// tries once, keeps nothing, and tells apart what has to be done after a failure. A Function is
// safe for concurrent use.
package lambda

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// MaxPayload is the largest request of a synchronous invocation, in bytes.
const MaxPayload = 6 << 20

// Errors of Invoke. Every other is of the network or the service, or the context's.
var (
	// ErrThrottled: too many invocations; a *ThrottledError says for how long.
	ErrThrottled = errors.New("invocations are throttled")
	// ErrTooLarge: the payload is larger than a function takes.
	ErrTooLarge = errors.New("the payload is larger than a function takes")
	// ErrSetup: there is no such function, it may not be invoked, or it cannot run as it is.
	ErrSetup = errors.New("the function cannot be invoked")
)

// ThrottledError is ErrThrottled with the time that AWS asks for, 0 if it does not say.
type ThrottledError struct {
	RetryAfter time.Duration
	err        error
}

// Error implements error.
func (e *ThrottledError) Error() string { return fmt.Sprintf("%v: %v", ErrThrottled, e.err) }

// Unwrap makes it ErrThrottled.
func (e *ThrottledError) Unwrap() []error { return []error{ErrThrottled, e.err} }

// Config says which function to invoke.
type Config struct {
	// Function is a name, a name with a version or alias behind a colon, or an ARN.
	Function string
	// Region of the function; empty for the ARN's, or what the SDK finds.
	Region string
	// Endpoint is the URL of a service that is not Amazon's, such as a local stand-in.
	Endpoint string
	// Concurrency is how many invocations there will be at once.
	Concurrency int
}

// Function is a function that can be invoked.
type Function struct {
	name   string
	client *lambda.Client
	http   *awshttp.BuildableClient
}

// Answer is what a function has said.
type Answer struct {
	// Payload is the JSON that it returned, or of its error.
	Payload []byte
	// Failed is the kind of its error, Handled or Unhandled; empty if it returned.
	Failed string
}

// Open finds the region and the credentials of a function, by the AWS SDK's chain. It sends nothing to it.
func Open(ctx context.Context, cfg Config) (*Function, error) {
	if cfg.Function == "" {
		return nil, errors.New("open a Lambda function: its name is missing")
	}
	if cfg.Endpoint != "" {
		if u, err := url.Parse(cfg.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("open Lambda function %s: endpoint %q is no http:// or https:// URL", cfg.Function, cfg.Endpoint)
		}
	}
	if part := strings.Split(cfg.Function, ":"); cfg.Region == "" && len(part) > 3 && part[0] == "arn" {
		cfg.Region = part[3]
	}
	sdk, err := config.LoadDefaultConfig(ctx, config.WithRegion(cfg.Region))
	switch {
	case err != nil:
		return nil, fmt.Errorf("open Lambda function %s: load the AWS configuration: %w", cfg.Function, err)
	case sdk.Region == "" && cfg.Endpoint != "":
		sdk.Region = "us-east-1"
	case sdk.Region == "":
		return nil, fmt.Errorf("open Lambda function %s: no AWS region: give the function's ARN, or set AWS_REGION", cfg.Function)
	}
	if _, err := sdk.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("open Lambda function %s: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine: %w", cfg.Function, err)
	}
	f := &Function{name: cfg.Function}
	f.http = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = max(cfg.Concurrency, 2)
	})
	f.client = lambda.NewFromConfig(sdk, func(o *lambda.Options) {
		o.Retryer = aws.NopRetryer{} // the caller does
		o.HTTPClient = f.http
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
	})
	return f, nil
}

// Close closes idle connections.
func (f *Function) Close() { f.http.GetTransport().CloseIdleConnections() }

// Invoke invokes the function with a JSON payload, and waits for its answer as long as ctx allows. A
// function that fails is an Answer. Without an answer the error is ErrThrottled, ErrTooLarge or ErrSetup, or
// another, after which the function may have run.
func (f *Function) Invoke(ctx context.Context, payload []byte) (Answer, error) {
	if len(payload) > MaxPayload {
		return Answer{}, fmt.Errorf("invoke %s with %d bytes: %w", f.name, len(payload), ErrTooLarge)
	}
	out, err := f.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &f.name, InvocationType: types.InvocationTypeRequestResponse, Payload: payload})
	if err != nil {
		return Answer{}, fmt.Errorf("invoke %s: %w", f.name, explain(err))
	}
	return Answer{Payload: out.Payload, Failed: aws.ToString(out.FunctionError)}, nil
}

// explain gives an error of the service its meaning.
func explain(err error) error {
	var throttled *types.TooManyRequestsException
	var large *types.RequestTooLargeException
	var response *awshttp.ResponseError
	switch {
	case errors.As(err, &throttled):
		seconds, _ := strconv.Atoi(aws.ToString(throttled.RetryAfterSeconds))
		return &ThrottledError{RetryAfter: time.Duration(max(seconds, 0)) * time.Second, err: err}
	case errors.As(err, &large):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.As(err, &response):
		switch code := response.HTTPStatusCode(); {
		case code == http.StatusRequestEntityTooLarge:
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		case code == http.StatusTooManyRequests:
			return &ThrottledError{err: err}
		case code/100 == 4, code == http.StatusBadGateway: // 502: what the function needs to run is broken
			return fmt.Errorf("%w: %w", ErrSetup, err)
		}
	}
	return err
}
