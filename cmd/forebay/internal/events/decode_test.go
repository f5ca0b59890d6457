package events

import (
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

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
			events, failed := decode(m, h, body)
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
