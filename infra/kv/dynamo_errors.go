package kv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Errors of tables in DynamoDB, beside those of every table. They are kinds of ErrUnavailable.
var (
	// ErrNoTable: there is no such table in the region.
	ErrNoTable = fmt.Errorf("%w: no such table", ErrUnavailable)
	// ErrNoCredentials: the default chain of the AWS SDK has none.
	ErrNoCredentials = fmt.Errorf("%w: no AWS credentials", ErrUnavailable)
	// ErrAccessDenied: the credentials are not accepted, or do not allow the operation.
	ErrAccessDenied = fmt.Errorf("%w: access denied", ErrUnavailable)
	// ErrUnreachable: no connection to the endpoint. Nothing was sent.
	ErrUnreachable = fmt.Errorf("%w: endpoint unreachable", ErrUnavailable)
	// ErrClockSkew: the clock of this machine is too far from DynamoDB's.
	ErrClockSkew = fmt.Errorf("%w: clock skew", ErrUnavailable)
	// ErrThrottled: the request was refused because there are too many. It was not applied.
	ErrThrottled = fmt.Errorf("%w: throttled", ErrUnavailable)
)

// outcome is what is known of a request.
type outcome int

const (
	outcomeApplied  outcome = iota
	outcomeConflict         // its condition did not hold
	outcomeRefused          // not applied, nor would it be the next time
	outcomeBusy             // certainly not applied; another try may be
	outcomeUnknown          // applied or not
)

// judge says what is known of a request that failed, and explains the error. ctx is the
// caller's, limited ends also with the time for one attempt.
func (d *dynamo) judge(ctx, limited context.Context, trace *requestTrace, err error) (outcome, error) {
	if api := refusal(err); api != nil {
		return d.judgeRefusal(api, err)
	}
	timedOut := limited.Err() != nil && ctx.Err() == nil
	switch {
	case trace.connected.Load() && ctx.Err() != nil:
		return outcomeUnknown, fmt.Errorf("reply from %s not awaited: %w", d.where, ctx.Err())
	case trace.connected.Load() && timedOut:
		return outcomeUnknown, fmt.Errorf("no reply from %s within %s", d.where, d.cfg.AttemptTimeout)
	case trace.connected.Load():
		return outcomeUnknown, fmt.Errorf("no valid reply from %s: %w", d.where, err)
	case ctx.Err() != nil:
		return outcomeRefused, fmt.Errorf("not sent to %s: %w", d.where, ctx.Err())
	case timedOut:
		return outcomeBusy, fmt.Errorf("%w: no connection to %s within %s: check the region, the endpoint and the network",
			ErrUnreachable, d.where, d.cfg.AttemptTimeout)
	case trace.made.Load():
		return outcomeBusy, fmt.Errorf("%w: %s: check the region, the endpoint and the network: %w", ErrUnreachable, d.where, dialCause(err))
	default: // no credentials any more, or nothing that could be sent
		return outcomeRefused, fmt.Errorf("%w: request not sent: %w", ErrUnavailable, err)
	}
}

// refusal returns the error of a reply by which DynamoDB itself says that it did not do
// what was asked: a status from 400 to 499 with a code. Anything else, a 5xx above all, says
// nothing about what was done.
func refusal(err error) smithy.APIError {
	var reply *smithyhttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &reply) || !errors.As(err, &api) {
		return nil
	}
	status := reply.HTTPStatusCode()
	if status < 400 || status > 499 || status == http.StatusRequestTimeout {
		return nil
	}
	if api.ErrorCode() == "" || api.ErrorCode() == unknownCode {
		return nil
	}
	return api
}

// unknownCode is the SDK's for a reply that has no code.
const unknownCode = "UnknownError"

// judgeRefusal sorts refusals by their codes. err has more to say than api.
func (d *dynamo) judgeRefusal(api smithy.APIError, err error) (outcome, error) {
	if clockSkewed(api, err) { // the SDK has taken note of the difference
		return outcomeBusy, fmt.Errorf("%w: set the clock of this machine (NTP): %w", ErrClockSkew, err)
	}
	switch api.ErrorCode() {
	case "ConditionalCheckFailedException":
		return outcomeConflict, ErrConflict
	case "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling", "RequestLimitExceeded", "LimitExceededException":
		return outcomeBusy, fmt.Errorf("%w: %w", ErrThrottled, err)
	case "TransactionConflictException", "ReplicatedWriteConflictException":
		return outcomeBusy, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case "ResourceNotFoundException":
		return outcomeRefused, fmt.Errorf("%w: %s at %s: create it or pass create=true, or check the region", ErrNoTable, d.cfg.Table, d.where)
	case "AccessDeniedException":
		return outcomeRefused, fmt.Errorf("%w: allow %s on table %s: %w", ErrAccessDenied, neededActions, d.cfg.Table, err)
	case "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken",
		"InvalidClientTokenId", "MissingAuthenticationTokenException", "MissingAuthenticationToken", "IncompleteSignatureException":
		return outcomeRefused, fmt.Errorf("%w: %s does not accept the credentials: check them: %w", ErrAccessDenied, d.where, err)
	default:
		return outcomeRefused, err
	}
}

const neededActions = "dynamodb:DescribeTable, GetItem, PutItem, DeleteItem and Query (CreateTable too with create=true)"

// clockSkewed reports whether a signature was refused for its time.
func clockSkewed(api smithy.APIError, err error) bool {
	if api.ErrorCode() == "RequestTimeTooSkewed" {
		return true
	}
	var skew interface{ RetryableError() bool } // the SDK's, by the date of the reply
	if errors.As(err, &skew) && skew.RetryableError() {
		return true
	}
	said := api.ErrorMessage()
	return strings.Contains(said, "Signature expired") || strings.Contains(said, "Signature not yet current")
}

// dialCause returns what kept a connection from being made, without the SDK's wrapping.
func dialCause(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) {
		return dial
	}
	return err
}
