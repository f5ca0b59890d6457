package format

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func record() *kgo.Record {
	return &kgo.Record{
		Topic: "events", Partition: 2, Offset: 17, Key: []byte("k"), Value: []byte("hello"), Timestamp: time.UnixMilli(1767225600123),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "c", Value: []byte{}}},
	}
}

func TestAppend(t *testing.T) {
	null := &kgo.Record{Topic: "t"}
	tests := []struct {
		layout string
		nulls  bool
		record *kgo.Record
		want   string
	}{
		{`%t %p %o %k=%s %T\n`, false, record(), "events 2 17 k=hello 1767225600123\n"},
		{`%K %S %v`, false, record(), "1 5 hello"},
		{`%R`, false, record(), "\x00\x00\x00\x05"},
		{`%h`, false, record(), "a=1,b=NULL,c="},
		{`100%% \x41\101\0\\\t\r`, false, record(), "100% AA\x00\\\t\r"},
		{`%k|%s|%K|%S|%T|%h`, false, null, "||-1|-1|-1|"},
		{`%k|%s|%R`, true, null, "NULL|NULL|\xff\xff\xff\xff"},
		{``, false, record(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.layout, func(t *testing.T) {
			l, err := Parse(tt.layout)
			require.NoError(t, err)
			l.Nulls = tt.nulls
			require.Equal(t, tt.want, string(l.Append(nil, tt.record)))
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, layout := range []string{`%`, `%x`, `a\`, `\q`, `\x`, `\xzz`, `\777`} {
		_, err := Parse(layout)
		require.ErrorIs(t, err, ErrLayout, "%q", layout)
	}
}

func TestEscapeIsTextOfItself(t *testing.T) {
	l, err := Parse(Escape(`50%\t` + "\t"))
	require.NoError(t, err)
	require.Equal(t, `50%\t`+"\t", string(l.Append(nil, record())))
	text, err := Unescape(`a\tb\x20`)
	require.NoError(t, err)
	require.Equal(t, "a\tb ", text)
}

func readAll(t require.TestingT, layout, input string) ([]*kgo.Record, error) {
	l, err := Parse(layout)
	require.NoError(t, err)
	r, err := NewReader(iotest.HalfReader(strings.NewReader(input)), l)
	require.NoError(t, err)
	var records []*kgo.Record
	for {
		rec := &kgo.Record{}
		switch err := r.Read(rec); {
		case err == io.EOF: //nolint:errorlint // the end is not wrapped
			return records, nil
		case err != nil:
			return records, err
		}
		records = append(records, rec)
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		layout, input string
		want          []kgo.Record
	}{
		{`%s\n`, "a\n\nb", []kgo.Record{{Value: []byte("a")}, {Value: []byte{}}, {Value: []byte("b")}}},
		{`%s`, "a\nb\n", []kgo.Record{{Value: []byte("a")}, {Value: []byte("b")}}},
		{`%k::%s\n`, "a:b::c:d\n", []kgo.Record{{Key: []byte("a:b"), Value: []byte("c:d")}}},
		{`%T %t %p %k\t%s\n`, "1000 x 3 k\tv\n", []kgo.Record{{Topic: "x", Partition: 3, Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(1000)}}},
		{`%K %k%S %s`, "2 a\n-1 ", []kgo.Record{{Key: []byte("a\n")}}},
		{`%R%s`, "\x00\x00\x00\x02ab\xff\xff\xff\xff", []kgo.Record{{Value: []byte("ab")}, {}}},
		{`[%h] %s\n`, "[a=1,b,c=NULL,d=] x\n[] y\n", []kgo.Record{
			{Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "c"}, {Key: "d", Value: []byte{}}}},
			{Value: []byte("y")},
		}},
		{`%o %s;`, "12 a;13 b;", []kgo.Record{{Value: []byte("a")}, {Value: []byte("b")}}},
		{`%s\r\n`, "a\rb\r\nc\r\n", []kgo.Record{{Value: []byte("a\rb")}, {Value: []byte("c")}}},
	}
	for _, tt := range tests {
		t.Run(tt.layout, func(t *testing.T) {
			got, err := readAll(t, tt.layout, tt.input)
			require.NoError(t, err)
			require.Len(t, got, len(tt.want))
			for i := range got {
				require.Equal(t, &tt.want[i], got[i])
			}
		})
	}
}

func TestReaderRefusesInput(t *testing.T) {
	tests := []struct{ name, layout, input string }{
		{"no delimiter", `%k\t%s\n`, "key without value\n"},
		{"literal", `<%K>%k</>`, "<1>k<x>"},
		{"number", `%T %s\n`, "now x\n"},
		{"negative partition", `%p %s\n`, "-2 x\n"},
		{"short key", `%K %k`, "9 short"},
		{"length", `%S %s`, "-2 x"},
		{"huge length", `%S %s`, "999999999999 x"},
		{"binary length", `%R%s`, "\x80\x00\x00\x00x"},
		{"cut literal", `%S %s--\n`, "1 a-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readAll(t, tt.layout, tt.input)
			require.ErrorIs(t, err, ErrInput)
		})
	}
}

func TestReaderRefusesLayout(t *testing.T) {
	for _, layout := range []string{``, `%k%s`, `%T%s\n`, `%K%k %s`} {
		l, err := Parse(layout)
		require.NoError(t, err)
		_, err = NewReader(strings.NewReader("x"), l)
		require.ErrorIs(t, err, ErrLayout, "%q", layout)
	}
}

func TestReaderPassesOnErrors(t *testing.T) {
	l, err := Parse(`%s\n`)
	require.NoError(t, err)
	r, err := NewReader(io.MultiReader(strings.NewReader("ok\npart"), iotest.ErrReader(io.ErrClosedPipe)), l)
	require.NoError(t, err)
	require.NoError(t, r.Read(&kgo.Record{}))
	require.ErrorIs(t, r.Read(&kgo.Record{}), io.ErrClosedPipe)
}

// What a layout with lengths writes, it reads back, whatever the bytes are.
func TestLayoutIsTheSameBothWays(t *testing.T) {
	layout := `%t %p %T %K %k%S %s;\n`
	l, err := Parse(layout)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte()))
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *kgo.Record {
			return &kgo.Record{
				Topic: rapid.StringMatching(`[a-z.]{1,9}`).Draw(t, "topic"), Partition: rapid.Int32Min(0).Draw(t, "partition"),
				Timestamp: time.UnixMilli(rapid.Int64Range(0, 1<<50).Draw(t, "time")),
				Key:       field.Draw(t, "key"), Value: field.Draw(t, "value"),
			}
		}), 0, 5).Draw(t, "records")
		var text []byte
		for _, r := range want {
			text = l.Append(text, r)
		}
		got, err := readAll(t, layout, string(text))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d records: %v", len(got), len(want), err)
		}
		for i := range want {
			if !bytes.Equal(l.Append(nil, got[i]), l.Append(nil, want[i])) || (got[i].Key == nil) != (want[i].Key == nil) {
				t.Fatalf("record %d: got %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}

// The lines are kcat 1.7.1's for the same records, but for the broker's id.
func TestAppendJSONIsKcats(t *testing.T) {
	r := record()
	r.Headers = r.Headers[:2]
	require.Equal(t,
		`{"topic":"events","partition":2,"offset":17,"tstype":"create","ts":1767225600123,"headers":["a","1","b",null],"key":"k","payload":"hello"}`+"\n",
		string(AppendJSON(nil, r)))
	require.Equal(t, `{"topic":"t","partition":0,"offset":0,"tstype":"create","ts":-1,"key":null,"payload":null}`+"\n",
		string(AppendJSON(nil, &kgo.Record{Topic: "t"})))
}

func TestAppendJSONIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "value")
		var got struct {
			Payload *string `json:"payload"`
			Raw     []byte  `json:"payload_base64"`
		}
		if err := json.Unmarshal(AppendJSON(nil, &kgo.Record{Value: value}), &got); err != nil {
			t.Fatal(err)
		}
		switch {
		case value == nil:
			if got.Payload != nil {
				t.Fatalf("got %q, want null", *got.Payload)
			}
		case got.Raw != nil:
			if !bytes.Equal(got.Raw, value) {
				t.Fatalf("got %q, want %q", got.Raw, value)
			}
		case *got.Payload != string(value):
			t.Fatalf("got %q, want %q", *got.Payload, value)
		}
	})
}

// A Reader never panics, ends, and what it returns it can read again.
func FuzzReader(f *testing.F) {
	f.Add(`%k\t%s\n`, []byte("a\tb\nc\td"))
	f.Add(`%K %k%S %s%h;`, []byte("1 a2 bcx=y;"))
	f.Add(`%R%s`, []byte("\x00\x00\x00\x01a"))
	f.Add(`%T %p %t %o|%s`, []byte("1 2 3 4|5\n"))
	f.Fuzz(func(t *testing.T, layout string, input []byte) {
		l, err := Parse(layout)
		if err != nil {
			return
		}
		r, err := NewReader(bytes.NewReader(input), l)
		if err != nil {
			return
		}
		for range len(input) + 1 { // each record takes a byte at least
			var rec kgo.Record
			if err := r.Read(&rec); err != nil {
				return
			}
			l.Append(nil, &rec)
		}
		t.Fatalf("%q does not end in %q", layout, input)
	})
}
