package differential

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// field is one value of an answer and where it stands in it.
type field struct{ path, value string }

// canon brings answers into a form in which those of two brokers can be compared: what a
// broker chooses (ids, addresses, times) is replaced by a name in the order of its first
// appearance, and the elements of lists are known by their keys and not by their order.
type canon struct {
	prefix string            // of the names that belong to the scenario, left out
	names  map[string]string // kind and value to name
	counts map[string]int    // names given so far, by kind
}

func newCanon(prefix string) *canon {
	return &canon{prefix: prefix, names: map[string]string{}, counts: map[string]int{}}
}

// ignored are fields that say nothing about the semantics.
var ignored = map[string]bool{
	"Version": true, "UnknownTags": true, "ThrottleMillis": true, "ErrorMessage": true,
	"Documentation": true, "SupportedFeatures": true, "FinalizedFeatures": true, "FinalizedFeaturesEpoch": true,
}

// chosen are fields whose values a broker chooses, and what kind of thing they are.
var chosen = map[string]string{
	"MemberID": "member", "LeaderID": "member", "TopicID": "topic id", "ProducerID": "producer",
	"ClusterID": "cluster", "SessionID": "session",
}

// constant are fields of which only matters whether they have a value.
var constant = map[string]bool{
	"Host": true, "Port": true, "ClientHost": true, "Dir": true, "TotalBytes": true, "UsableBytes": true,
}

// keys are the fields by which elements of lists are known, the first that an element has.
var keys = []string{
	"Topic", "Partition", "Group", "GroupID", "MemberID", "TransactionalID", "ResourceName", "Name", "ConfigName",
	"NodeID", "ApiKey", "Key", "ProducerID", "Dir", "BrokerID", "TopicID",
}

// fields flattens an answer.
func (c *canon) fields(resp kmsg.Response) []field {
	var out []field
	c.structure("", reflect.ValueOf(resp).Elem(), &out)
	return out
}

func (c *canon) structure(path string, v reflect.Value, out *[]field) {
	t := v.Type()
	for i := range t.NumField() {
		name := t.Field(i).Name
		if ignored[name] {
			continue
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		f := v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			c.structure(at, f, out)
		case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct:
			if !f.IsNil() {
				c.structure(at, f.Elem(), out)
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			c.list(at, f, out)
		default:
			*out = append(*out, field{at, c.value(name, f)})
		}
	}
}

// list flattens the elements of a list under their keys.
func (c *canon) list(path string, v reflect.Value, out *[]field) {
	if v.IsNil() {
		*out = append(*out, field{path, "null or empty"})
		return
	}
	seen := map[string]int{}
	for i := range v.Len() {
		key := c.key(v.Index(i))
		seen[key]++
		if n := seen[key]; n > 1 {
			key += "#" + strconv.Itoa(n)
		}
		c.structure(path+"["+key+"]", v.Index(i), out)
	}
	if v.Len() == 0 {
		*out = append(*out, field{path, "null or empty"})
	}
}

// key is what an element is known by.
func (c *canon) key(v reflect.Value) string {
	for _, name := range keys {
		f := v.FieldByName(name)
		if !f.IsValid() {
			continue
		}
		if f.Kind() == reflect.Pointer && f.IsNil() || f.Kind() == reflect.String && f.Len() == 0 {
			continue
		}
		return strings.Trim(c.value(name, f), `"`)
	}
	return ""
}

// value is the text of a simple value.
func (c *canon) value(name string, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		return c.value(name, v.Elem())
	}
	switch kind, isChosen := chosen[name]; {
	case isChosen && (kind != "member" || !v.CanInt()):
		return c.chosen(kind, v)
	case constant[name]:
		return fmt.Sprintf("set: %t", !v.IsZero() && (!v.CanInt() || v.Int() > 0))
	case strings.HasSuffix(name, "ErrorCode") && v.Kind() == reflect.Int16:
		return errorName(int16(v.Int()))
	}
	switch v.Kind() {
	case reflect.Int64:
		return moment(v.Int())
	case reflect.String:
		return c.text(v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return fmt.Sprint(v.Interface())
		}
		if name == "Records" || name == "RecordBatches" {
			return c.batches(v.Bytes())
		}
		return strconv.Quote(string(v.Bytes()))
	}
	return fmt.Sprint(v.Interface())
}

// chosen is the name of a value that the broker chose. Values that mean none are as they are.
func (c *canon) chosen(kind string, v reflect.Value) string {
	text := fmt.Sprint(v.Interface())
	if v.IsZero() && kind != "producer" || text == "-1" {
		return "none (" + kind + ")"
	}
	return c.called(kind, text)
}

// called is the name of a value, given at its first appearance.
func (c *canon) called(kind, text string) string {
	at := kind + " " + text
	if _, ok := c.names[at]; !ok {
		c.counts[kind]++
		c.names[at] = fmt.Sprintf("%s %d", kind, c.counts[kind])
	}
	return c.names[at]
}

// text is a string, by its name if it is a member's id.
func (c *canon) text(s string) string {
	if name, ok := c.names["member "+s]; ok {
		return name
	}
	return strconv.Quote(strings.ReplaceAll(s, c.prefix, ""))
}

// moment is a number that may be a time: of all that are about now one is as good as another.
func moment(n int64) string {
	const near = int64(time.Hour / time.Millisecond)
	if d := n - time.Now().UnixMilli(); d > -near && d < near {
		return "about now"
	}
	return strconv.FormatInt(n, 10)
}

func errorName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return strconv.Itoa(int(code))
}
