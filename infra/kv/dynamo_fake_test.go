package kv_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

// fakeDynamo is a server that speaks as much of DynamoDB's protocol as the driver does, and
// fails as it is told to. It refuses every request that DynamoDB would refuse for its form.
type fakeDynamo struct {
	*httptest.Server
	page  int // items of a page of Query
	polls int // looks at a new table until it is active

	mu     sync.Mutex
	tables map[string]*fakeTable
	script map[string][]fakeFault // of an operation, in order
	seen   []string               // operations
}

type fakeTable struct {
	status string
	polls  int // looks until a table that is being made is active
	keys   []string
	types  []string
	items  map[string]map[string]fakeItem // by part and sort
}

type (
	fakeItem map[string]fakeAttr
	fakeAttr struct {
		S *string `json:"S,omitempty"`
		B []byte  `json:"B,omitempty"`
	}
)

// fakeFault is what happens to a request instead of a good reply.
type fakeFault struct {
	apply   bool   // the request is done all the same
	status  int    // reply with this status
	code    string // and this error
	message string
	close   bool          // no reply: the connection is closed
	half    bool          // half of a reply, then the connection is closed
	hang    bool          // no reply at all
	damaged bool          // the reply is not what its checksum says
	skew    time.Duration // of the server's clock, in the reply
}

// newFakeDynamo starts the server, and gives this process credentials of which nothing
// outside of the test can be made.
func newFakeDynamo(t *testing.T) *fakeDynamo {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CA_BUNDLE": "", "AWS_REGION": "",
		"AWS_DEFAULT_REGION": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	f := &fakeDynamo{page: 7, tables: map[string]*fakeTable{}, script: map[string][]fakeFault{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

// open opens a table on the server, made if need be, that waits little for anything.
func (f *fakeDynamo) open(t *testing.T, cfg kv.DynamoConfig) kv.Store {
	t.Helper()
	s, err := kv.OpenDynamoDB(t.Context(), f.config(cfg))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (f *fakeDynamo) config(cfg kv.DynamoConfig) kv.DynamoConfig {
	cfg.Table, cfg.Endpoint, cfg.Create = cmp.Or(cfg.Table, "table"), f.URL, true
	cfg.Backoff, cfg.AttemptTimeout = time.Microsecond, cmp.Or(cfg.AttemptTimeout, time.Minute)
	return cfg
}

// then makes the next requests of an operation fail, in order.
func (f *fakeDynamo) then(op string, faults ...fakeFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script[op] = append(f.script[op], faults...)
}

// count returns how many requests of an operation have come.
func (f *fakeDynamo) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, seen := range f.seen {
		if seen == op {
			n++
		}
	}
	return n
}

func (f *fakeDynamo) serve(w http.ResponseWriter, r *http.Request) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in fakeRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Authorization") == "" {
		http.Error(w, "no request of DynamoDB", http.StatusTeapot)
		return
	}
	f.mu.Lock()
	f.seen = append(f.seen, op)
	var fault fakeFault
	if script := f.script[op]; len(script) > 0 {
		fault, f.script[op] = script[0], script[1:]
	}
	status, reply := http.StatusOK, any(nil)
	if fault == (fakeFault{}) || fault.apply {
		status, reply = f.do(op, in)
	}
	f.mu.Unlock()
	fault.answer(w, r, status, reply)
}

func (x fakeFault) answer(w http.ResponseWriter, r *http.Request, status int, reply any) {
	if x.status != 0 {
		status, reply = refuse(x.status, x.code, x.message)
	}
	body, err := json.Marshal(reply)
	switch {
	case err != nil:
		panic(err)
	case x.hang:
		<-r.Context().Done()
		return
	case x.half:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)+10))
	case x.close:
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-RequestId", "request")
	checksum := crc32.ChecksumIEEE(body)
	if x.damaged {
		checksum++
	}
	w.Header().Set("X-Amz-Crc32", fmt.Sprint(checksum))
	w.Header().Set("Date", time.Now().Add(x.skew).UTC().Format(http.TimeFormat))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

func refuse(status int, code, message string) (int, any) {
	if code == "" {
		return status, map[string]string{}
	}
	return status, map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + code, "message": message}
}

func invalid(message string) (int, any) {
	return refuse(http.StatusBadRequest, "ValidationException", message)
}

type fakeRequest struct {
	TableName                 string
	Item, Key                 fakeItem
	ConditionExpression       string
	KeyConditionExpression    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues fakeItem
	ConsistentRead            bool
	ReturnConsumedCapacity    string
	ScanIndexForward          *bool
	Limit                     *int
	ExclusiveStartKey         fakeItem
	BillingMode               string
	KeySchema                 []struct{ AttributeName, KeyType string }
	AttributeDefinitions      []struct{ AttributeName, AttributeType string }
}

// do does what was asked and returns the reply.
func (f *fakeDynamo) do(op string, in fakeRequest) (int, any) {
	t := f.tables[in.TableName]
	if op == "CreateTable" {
		return f.create(in, t)
	}
	if t == nil {
		return refuse(http.StatusBadRequest, "ResourceNotFoundException", "Requested resource not found")
	}
	if op == "DescribeTable" {
		return http.StatusOK, map[string]any{"Table": t.describe(in.TableName)}
	}
	if in.ReturnConsumedCapacity != "TOTAL" {
		return invalid("the driver wants to know what it consumed")
	}
	for _, attrs := range []fakeItem{in.Item, in.Key, in.ExpressionAttributeValues} {
		for name, attr := range attrs {
			if attr.S == nil && len(attr.B) == 0 {
				return invalid("empty attribute " + name)
			}
		}
	}
	switch op {
	case "GetItem":
		return t.get(in)
	case "PutItem", "DeleteItem":
		return t.write(op, in)
	case "Query":
		return t.query(in, f.page)
	default:
		return refuse(http.StatusBadRequest, "UnknownOperationException", op)
	}
}

func (f *fakeDynamo) create(in fakeRequest, there *fakeTable) (int, any) {
	if there != nil {
		return refuse(http.StatusBadRequest, "ResourceInUseException", "Table already exists: "+in.TableName)
	}
	if in.BillingMode != "PAY_PER_REQUEST" {
		return invalid("billing mode " + in.BillingMode)
	}
	t := &fakeTable{status: "CREATING", polls: f.polls, items: map[string]map[string]fakeItem{}}
	for i, k := range in.KeySchema {
		t.keys = append(t.keys, k.AttributeName)
		t.types = append(t.types, in.AttributeDefinitions[i].AttributeType)
	}
	f.tables[in.TableName] = t
	return http.StatusOK, map[string]any{}
}

func (t *fakeTable) describe(name string) map[string]any {
	if t.polls--; t.polls < 0 && t.status == "CREATING" {
		t.status = "ACTIVE"
	}
	var schema, definitions []map[string]string
	for i, key := range t.keys {
		schema = append(schema, map[string]string{"AttributeName": key, "KeyType": []string{"HASH", "RANGE"}[i]})
		definitions = append(definitions, map[string]string{"AttributeName": key, "AttributeType": t.types[i]})
	}
	return map[string]any{"TableName": name, "TableStatus": t.status, "KeySchema": schema, "AttributeDefinitions": definitions}
}

func (t *fakeTable) get(in fakeRequest) (int, any) {
	if !in.ConsistentRead {
		return invalid("reads must be consistent")
	}
	reply := map[string]any{"ConsumedCapacity": map[string]any{"CapacityUnits": 0.5}}
	if item := t.items[*in.Key["part"].S][*in.Key["sort"].S]; item != nil {
		reply["Item"] = item
	}
	return http.StatusOK, reply
}

func (t *fakeTable) write(op string, in fakeRequest) (int, any) {
	key := in.Key
	if op == "PutItem" {
		key = in.Item
	}
	part, sort := *key["part"].S, *key["sort"].S
	now := t.items[part][sort]
	attr := in.ExpressionAttributeNames["#k"]
	holds := false
	switch in.ConditionExpression {
	case "":
		holds = true
	case "attribute_not_exists(#k)":
		holds = now[attr].S == nil
	case "#k = :v":
		holds = now[attr].S != nil && *now[attr].S == *in.ExpressionAttributeValues[":v"].S
	default:
		return invalid(in.ConditionExpression)
	}
	if !holds {
		return refuse(http.StatusBadRequest, "ConditionalCheckFailedException", "The conditional request failed")
	}
	if t.items[part] == nil {
		t.items[part] = map[string]fakeItem{}
	}
	if t.items[part][sort] = in.Item; op == "DeleteItem" {
		delete(t.items[part], sort)
	}
	return http.StatusOK, map[string]any{"ConsumedCapacity": map[string]any{"CapacityUnits": 2.0}}
}

func (t *fakeTable) query(in fakeRequest, page int) (int, any) {
	var within func(string) bool
	bound := func(name string) string { return *in.ExpressionAttributeValues[name].S }
	switch strings.TrimPrefix(in.KeyConditionExpression, "#p = :p") {
	case "":
		within = func(string) bool { return true }
	case " AND #s BETWEEN :from AND :to":
		if bound(":from") > bound(":to") {
			return invalid("the lower bound must not be greater")
		}
		within = func(sort string) bool { return sort >= bound(":from") && sort <= bound(":to") }
	case " AND #s >= :from":
		within = func(sort string) bool { return sort >= bound(":from") }
	case " AND #s < :to":
		within = func(sort string) bool { return sort < bound(":to") }
	default:
		return invalid(in.KeyConditionExpression)
	}
	switch {
	case !in.ConsistentRead:
		return invalid("reads must be consistent")
	case in.Limit != nil && *in.Limit < 1:
		return invalid("limit must be at least 1")
	case in.Limit != nil:
		page = min(page, *in.Limit)
	}
	part := t.items[bound(":p")]
	order := strings.Compare
	if in.ScanIndexForward != nil && !*in.ScanIndexForward {
		order = func(a, b string) int { return strings.Compare(b, a) }
	}
	var sorts []string
	for sort := range part {
		if within(sort) && (in.ExclusiveStartKey == nil || order(sort, *in.ExclusiveStartKey["sort"].S) > 0) {
			sorts = append(sorts, sort)
		}
	}
	slices.SortFunc(sorts, order)
	reply := map[string]any{"ConsumedCapacity": map[string]any{"CapacityUnits": 1.5}}
	if len(sorts) >= page { // also when nothing follows, like DynamoDB
		sorts = sorts[:page]
		reply["LastEvaluatedKey"] = fakeItem{"part": in.ExpressionAttributeValues[":p"], "sort": {S: &sorts[page-1]}}
	}
	items := []fakeItem{}
	for _, sort := range sorts {
		items = append(items, part[sort])
	}
	reply["Items"] = items
	return http.StatusOK, reply
}
