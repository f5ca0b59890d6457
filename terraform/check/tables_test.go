//go:build e2e

package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

// table is what counts of a table: its name, its keys in order, and how it is paid for.
type table struct {
	Name    string
	Keys    []string // name, type and kind
	Billing string
}

// driversTables are the tables that the driver asks DynamoDB for, with create=true.
func driversTables(t *testing.T) map[string]table {
	t.Helper()
	var mu sync.Mutex
	asked := map[string]table{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusBadRequest)
		if err != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".CreateTable") {
			_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}`)
			return
		}
		var in createTable
		if json.Unmarshal(body, &in) == nil {
			mu.Lock()
			defer mu.Unlock()
			asked[in.TableName] = in.table()
		}
		_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException"}`)
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "local")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "local")
	for _, suffix := range []string{"-control", "-offsets"} { // one by one: opening both ends with the first that fails
		_, err := kv.OpenDynamoDB(t.Context(), kv.DynamoConfig{Table: "events" + suffix, Endpoint: server.URL, Create: true})
		require.Error(t, err)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, asked, 2)
	return asked
}

type createTable struct {
	TableName, BillingMode string
	AttributeDefinitions   []struct{ AttributeName, AttributeType string }
	KeySchema              []struct{ AttributeName, KeyType string }
}

func (c createTable) table() table {
	types := map[string]string{}
	for _, a := range c.AttributeDefinitions {
		types[a.AttributeName] = a.AttributeType
	}
	out := table{Name: c.TableName, Billing: c.BillingMode}
	for _, k := range c.KeySchema {
		out.Keys = append(out.Keys, fmt.Sprintf("%s %s %s", k.AttributeName, types[k.AttributeName], k.KeyType))
	}
	return out
}

// compareTables fails unless module tables makes the tables that the driver makes.
func (tr tree) compareTables(ctx context.Context, t *testing.T, want map[string]table) error {
	t.Helper()
	if _, err := tr.run(ctx, t, "modules/tables", "plan", "-out=plan", "-var=prefix=events"); err != nil {
		return err
	}
	text, err := tr.run(ctx, t, "modules/tables", "show", "-json", "plan")
	if err != nil {
		return err
	}
	plan := decode[struct {
		ResourceChanges []struct {
			Type   string
			Change struct {
				After struct {
					Name        string
					HashKey     string `json:"hash_key"`
					RangeKey    string `json:"range_key"`
					BillingMode string `json:"billing_mode"`
					Attribute   []struct{ Name, Type string }
				}
			}
		} `json:"resource_changes"`
	}](t, json.RawMessage(text))
	got := map[string]table{}
	for _, c := range plan.ResourceChanges {
		if c.Type != "aws_dynamodb_table" {
			continue
		}
		after, types := c.Change.After, map[string]string{}
		for _, a := range after.Attribute {
			types[a.Name] = a.Type
		}
		got[after.Name] = table{Name: after.Name, Billing: after.BillingMode, Keys: []string{
			after.HashKey + " " + types[after.HashKey] + " HASH", after.RangeKey + " " + types[after.RangeKey] + " RANGE",
		}}
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("modules/tables makes the tables %v, and the driver %v", got, want)
	}
	return nil
}

// TestTables: the keys of the tables are those that the driver expects.
func TestTables(t *testing.T) {
	tr := newTree(t)
	require.NoError(t, tr.init(t.Context(), t, "modules/tables"))
	require.NoError(t, tr.compareTables(t.Context(), t, driversTables(t)))
}
