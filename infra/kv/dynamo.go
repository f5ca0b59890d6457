package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"
)

// DynamoConfig are the settings of a table of DynamoDB. Credentials come from the
// default chain of the AWS SDK.
type DynamoConfig struct {
	Table    string // name of the table; for OpenDynamoTables the prefix of two names
	Region   string // AWS region; empty for the SDK's (AWS_REGION, the profile)
	Endpoint string // URL of another server than the region's; empty for none
	Create   bool   // create the table if there is none, paid per request

	Concurrency    int           // writes of one Write call under way at once; default 64
	MaxAttempts    int           // tries of one request, the first one included; default 8
	AttemptTimeout time.Duration // until a reply that has not come counts as lost; default 2 s
	Backoff        time.Duration // wait before the second try, doubled for each one after it; default 25 ms
	OpenTimeout    time.Duration // for opening, creation included; default 2 min

	Logger  *slog.Logger  // nil discards
	Observe func(Request) // called after each request, by many goroutines at once; nil for none
}

// Request is what one HTTP request to DynamoDB was and took.
type Request struct {
	Table     string
	Operation string // GetItem, PutItem, DeleteItem, Query, DescribeTable or CreateTable
	// ReadUnits and WriteUnits are the capacity units consumed, as the reply has them. A
	// failed condition is paid by the size of the item it met, which no reply tells; it
	// counts as the one unit that it takes at least.
	ReadUnits, WriteUnits float64
	Duration              time.Duration
	// Err is nil or wraps ErrConflict, ErrThrottled, ErrUnreachable, ErrAccessDenied or
	// another error of this package, or the SDK's.
	Err error
}

// What the settings are unless said otherwise.
const (
	defaultConcurrency    = 64
	defaultMaxAttempts    = 8
	defaultAttemptTimeout = 2 * time.Second
	defaultBackoff        = 25 * time.Millisecond
	defaultOpenTimeout    = 2 * time.Minute
	maxBackoff            = time.Second
)

func (c DynamoConfig) withDefaults() DynamoConfig {
	orInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	orDuration := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	orInt(&c.Concurrency, defaultConcurrency)
	orInt(&c.MaxAttempts, defaultMaxAttempts)
	orDuration(&c.AttemptTimeout, defaultAttemptTimeout)
	orDuration(&c.Backoff, defaultBackoff)
	orDuration(&c.OpenTimeout, defaultOpenTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// Validate says which setting no table can be opened with.
func (c DynamoConfig) Validate() error {
	switch {
	case !tableName.MatchString(c.Table):
		return fmt.Errorf("table name %q: want 3 to 255 letters, digits, underscores, hyphens and dots", c.Table)
	case c.Concurrency < 0, c.MaxAttempts < 0, c.AttemptTimeout < 0, c.Backoff < 0, c.OpenTimeout < 0:
		return errors.New("concurrency, attempts and times must not be negative")
	case c.Endpoint == "":
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("endpoint %q: want a URL such as http://127.0.0.1:8000", c.Endpoint)
	}
	return nil
}

// dynamo is a Store in a table of DynamoDB. Commit point of a write: the reply's
// status, or for a reply that never came whatever DynamoDB did, which the caller is
// told as ErrUnknown. The nonce stays with the item for Resolve to find.
//
// Items have the attributes
//
//	part   S  hash key
//	sort   S  range key
//	nonce  S  version of the write
//	value  B  left out when empty
type dynamo struct {
	cfg    DynamoConfig
	client *dynamodb.Client
	http   *http.Client
	where  string // endpoint or region, for messages

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // under way
}

// Names of attributes.
const (
	attrPart  = "part"
	attrSort  = "sort"
	attrNonce = "nonce"
	attrValue = "value"
)

// Conditions of writes; #k stands for the attribute, as some names are reserved words.
var (
	conditionAbsent  = aws.String("attribute_not_exists(#k)")
	conditionVersion = aws.String("#k = :v")
)

func stringAttr(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func keyAttrs(k Key) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrPart: stringAttr(k.Part), attrSort: stringAttr(k.Sort)}
}

// enter counts a call that is under way until leave.
func (d *dynamo) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("table %s: %w", d.cfg.Table, ErrClosed)
	}
	d.calls.Add(1)
	return nil
}

func (d *dynamo) leave() { d.calls.Done() }

// Get implements Store.
func (d *dynamo) Get(ctx context.Context, key Key) (Item, error) {
	if err := checkRead(ctx, key); err != nil {
		return Item{}, err
	}
	item, err := d.get(ctx, key)
	if err != nil {
		return Item{}, fmt.Errorf("get %v: %w", key, err)
	}
	return item, nil
}

func (d *dynamo) get(ctx context.Context, key Key) (Item, error) {
	if err := d.enter(); err != nil {
		return Item{}, err
	}
	defer d.leave()
	var out *dynamodb.GetItemOutput
	err := d.read(ctx, opGet, func(ctx context.Context) (_ *types.ConsumedCapacity, err error) {
		out, err = d.client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &d.cfg.Table, Key: keyAttrs(key), ConsistentRead: aws.Bool(true),
			ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		})
		if err != nil {
			return nil, err
		}
		return out.ConsumedCapacity, nil
	})
	switch {
	case err != nil:
		return Item{}, err
	case len(out.Item) == 0:
		return Item{}, ErrNotFound
	default:
		return itemOf(out.Item)
	}
}

// itemOf takes the attributes of an item apart. They were decoded for this call, so
// the value is the caller's.
func itemOf(attrs map[string]types.AttributeValue) (Item, error) {
	part, okPart := attrs[attrPart].(*types.AttributeValueMemberS)
	sort, okSort := attrs[attrSort].(*types.AttributeValueMemberS)
	nonce, okNonce := attrs[attrNonce].(*types.AttributeValueMemberS)
	if !okPart || !okSort || !okNonce {
		return Item{}, fmt.Errorf("%w: an item without version: another program wrote it", ErrCorrupt)
	}
	item := Item{Key: Key{Part: part.Value, Sort: sort.Value}, Value: []byte{}, Version: Version(nonce.Value)}
	if value, ok := attrs[attrValue].(*types.AttributeValueMemberB); ok && len(value.Value) > 0 {
		item.Value = value.Value
	}
	return item, nil
}

// Write implements Store. Each write is a request of its own, as DynamoDB's batches
// know no conditions; so many of a call as Concurrency says are under way at once.
func (d *dynamo) Write(ctx context.Context, writes ...Write) []Result {
	results := make([]Result, len(writes))
	if len(writes) == 1 {
		results[0] = d.write(ctx, writes[0])
		return results
	}
	var running errgroup.Group
	running.SetLimit(d.cfg.Concurrency)
	for i, w := range writes {
		running.Go(func() error {
			results[i] = d.write(ctx, w)
			return nil
		})
	}
	_ = running.Wait() // never fails
	return results
}

func (d *dynamo) write(ctx context.Context, w Write) Result {
	if err := checkWrite(ctx, w); err != nil {
		return Result{Err: err}
	}
	_, version := w.drawNonce()
	err := d.enter()
	if err == nil {
		err = d.apply(ctx, w, version)
		d.leave()
	}
	if err != nil {
		err = fmt.Errorf("write %v: %w", w.Key, err)
	}
	return Result{Version: version, Err: err}
}

// apply sends the write until its outcome is known, or cannot be known.
func (d *dynamo) apply(ctx context.Context, w Write, version Version) error {
	op, call := opPut, d.put(w, version)
	if w.Delete {
		op, call = opDelete, d.remove(w)
	}
	got, err := d.repeat(ctx, op, call, func(o outcome) bool { return o == outcomeBusy })
	if got == outcomeUnknown {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

func (d *dynamo) put(w Write, version Version) call {
	item := keyAttrs(w.Key)
	item[attrNonce] = stringAttr(string(version))
	if len(w.Value) > 0 {
		item[attrValue] = &types.AttributeValueMemberB{Value: w.Value}
	}
	condition, names, values := conditionOf(w)
	return func(ctx context.Context) (*types.ConsumedCapacity, error) {
		out, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &d.cfg.Table, Item: item,
			ConditionExpression: condition, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		})
		if err != nil {
			return nil, err
		}
		return out.ConsumedCapacity, nil
	}
}

func (d *dynamo) remove(w Write) call {
	condition, names, values := conditionOf(w)
	return func(ctx context.Context) (*types.ConsumedCapacity, error) {
		out, err := d.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &d.cfg.Table, Key: keyAttrs(w.Key),
			ConditionExpression: condition, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
			ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		})
		if err != nil {
			return nil, err
		}
		return out.ConsumedCapacity, nil
	}
}

func conditionOf(w Write) (condition *string, names map[string]string, values map[string]types.AttributeValue) {
	switch {
	case w.Any:
		return nil, nil, nil
	case w.If == "":
		return conditionAbsent, map[string]string{"#k": attrPart}, nil
	default:
		return conditionVersion, map[string]string{"#k": attrNonce},
			map[string]types.AttributeValue{":v": stringAttr(string(w.If))}
	}
}

// Close implements Store: it waits for the calls under way.
func (d *dynamo) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.calls.Wait()
	d.http.CloseIdleConnections()
	return nil
}
