package events

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestBatchOfMillions: a batch of far too much is refused before it takes memory, and an answer does not list all that is wrong.
func TestBatchOfMillions(t *testing.T) {
	refused := func(body string, most int) *problem {
		_, err := decode(modeBatch, http.Header{}, []byte(body), most)
		var p *problem
		require.ErrorAs(t, err, &p)
		return p
	}
	million := "[" + strings.Repeat("1,", 1<<17) + "1]"
	require.Less(t, testing.AllocsPerRun(1, func() { require.Equal(t, http.StatusRequestEntityTooLarge, refused(million, 1000).Status) }), 10_000.0)
	p := refused(million, 1<<20)
	require.Equal(t, http.StatusBadRequest, p.Status)
	require.Len(t, p.Invalid, maxInvalid)
	for _, body := range []string{"", "{}", "1", "[", "[1", "[1,]", "[] 1", "[}"} {
		require.Equal(t, http.StatusBadRequest, refused(body, 10).Status, body)
	}
	events, err := decode(modeBatch, http.Header{}, []byte(" [ ] "), 10)
	require.NoError(t, err)
	require.Empty(t, events)
}

// TestHeadersOfTheBinding: quotes and percent-encoding are taken off attributes, once, and not off the media type.
func TestHeadersOfTheBinding(t *testing.T) {
	header := func(subject, media string) http.Header {
		return http.Header{"Content-Type": {media}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"a"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Subject": {subject}}
	}
	for sent, want := range map[string]string{
		"plain": "plain", "Euro%20%E2%82%AC": "Euro €", "100%": "100%", "a%2525": "a%25", `"quoted"`: "quoted", `"a \"b\" \\%20c"`: `a "b" \ c`,
		`say "x"`: `say "x"`, "€": "€",
	} {
		events, err := decode(modeBinary, header(sent, `text/plain; x="a%20b"`), []byte("x"), 1)
		require.NoError(t, err, sent)
		require.Equal(t, want, events[0].Subject())
		require.Equal(t, `text/plain; x="a%20b"`, events[0].DataContentType())
	}
	for _, sent := range []string{"a%0Ab", "%00", "%ff", "\xff", "%C2%85"} {
		_, err := decode(modeBinary, header(sent, "text/plain"), []byte("x"), 1)
		var p *problem
		require.ErrorAs(t, err, &p, sent)
		require.Equal(t, "subject", p.Invalid[0].Attribute)
	}
	encoded := header("x", "application/json")
	encoded.Set("Content-Encoding", "gzip")
	_, err := modeOf(encoded)
	var p *problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnsupportedMediaType, p.Status)
	encoded.Set("Content-Encoding", "Identity")
	_, err = modeOf(encoded)
	require.NoError(t, err)
}

// TestNamesOfMembers: ID is no id, and beside one it would be a second header of that name to whoever reads without regard to case.
func TestNamesOfMembers(t *testing.T) {
	_, wrong := decodeJSON([]byte(`{"specversion": "1.0", "id": "a", "ID": "b", "source": "/s", "type": "t", "aB": 1}`))
	require.Equal(t, []string{"ID", "aB"}, []string{wrong[0].Attribute, wrong[1].Attribute})
	_, wrong = decodeJSON([]byte(`{"specversion": "1.0", "id": "a\u0000", "source": "/s", "type": "t"}`))
	require.Equal(t, "id", wrong[0].Attribute)
}

// Whatever is sent, it is refused with a problem or becomes a record whose headers are text
// and whose key is the partitionkey.
func FuzzDecode(f *testing.F) {
	f.Add("application/cloudevents+json", "", []byte(`{"specversion":"1.0","id":"a","source":"/s","type":"t","partitionkey":"k","data":{"x":1}}`))
	f.Add("application/cloudevents+json", "", []byte(`{"data_base64":"AP8=","specversion":"1.0","id":"a","source":"/s","type":"t","time":"2026-01-31T12:00:00Z"}`))
	f.Add("application/cloudevents-batch+json", "", []byte(`[{"specversion":"1.0","id":"a","source":"/s","type":"t"},{}]`))
	f.Add("application/cloudevents+json", "", []byte(`{"data_base64":1,"specversion":"1.0","id":"a","source":"/s","type":"t","x":1.5}`))
	f.Add("application/cloudevents+json", "", []byte(`{"specversion":"1.0","time":""}`))
	f.Add("text/plain", "S%20%C3", []byte("data"))
	f.Fuzz(func(t *testing.T, media, subject string, body []byte) {
		h := http.Header{"Content-Type": {media}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"a"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Subject": {subject}, "Ce-Dataschema": {subject}, "Ce-" + subject: {subject}}
		m, err := modeOf(h)
		if err == nil {
			events, failed := decode(m, h, body, 100)
			if err = failed; err == nil {
				for _, e := range events {
					r, err := toRecord("topic", e)
					require.NoError(t, err)
					key, has := e.Extensions()[partitionKey]
					require.Equal(t, has, r.Key != nil, "%v", key)
					for _, header := range r.Headers {
						require.NotEmpty(t, header.Key)
						require.True(t, utf8.ValidString(header.Key))
					}
				}
			}
		}
		if err != nil {
			require.IsType(t, &problem{}, err)
		}
	})
}
