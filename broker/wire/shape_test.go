package wire

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a request to something that is not its default, with n
// elements to each array. It returns the number of elements that it made.
func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name == "Version" || name == "UnknownTags" {
				continue
			}
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(7)
		}
	case reflect.String:
		v.SetString("name")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	default:
		panic("fill: " + v.Kind().String())
	}
}

// eachRequest calls f with a filled request of each key and version with a shape.
func eachRequest(t *testing.T, n int, f func(t *testing.T, req kmsg.Request)) {
	for key := range shapes {
		top := key.Request().MaxVersion()
		if served, ok := map[kmsg.Key]int16{kmsg.InitProducerID: 5, kmsg.ApiVersions: 4}[key]; ok {
			top = served // kmsg knows versions that are not served
		}
		for v := int16(0); v <= top; v++ {
			req := key.Request()
			fill(reflect.ValueOf(req).Elem(), n)
			req.SetVersion(v)
			t.Run(fmt.Sprintf("%s/%d", key.Name(), v), func(t *testing.T) { f(t, req) })
		}
	}
}

// The walk over a body ends exactly where kmsg's encoding of it does, for every
// version: the shapes are those of the requests.
func TestShapesMatchTheEncoders(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		eachRequest(t, n, func(t *testing.T, req kmsg.Request) {
			body := req.AppendTo(nil)
			w := walker{reader: reader{rest: body}, version: req.GetVersion(), flexible: req.IsFlexible(), elements: maxElements}
			w.structure(shapes[kmsg.Key(req.Key())])
			require.False(t, w.bad)
			require.Empty(t, w.rest)
			require.NoError(t, Decode(req, body))
		})
	}
}

// A body that is cut anywhere is refused, without a panic.
func TestDecodeRefusesCutBodies(t *testing.T) {
	eachRequest(t, 2, func(t *testing.T, req kmsg.Request) {
		body := req.AppendTo(nil)
		for cut := range body {
			empty := kmsg.Key(req.Key()).Request()
			empty.SetVersion(req.GetVersion())
			require.ErrorIs(t, Decode(empty, body[:cut]), ErrMalformed, "cut at %d of %d", cut, len(body))
		}
	})
}

// A length that claims more elements than there may be is refused before it is
// believed.
func TestDecodeBoundsElements(t *testing.T) {
	claim := append([]byte{0x7f, 0xff, 0xff, 0xff}, make([]byte, 64)...)
	req := kmsg.NewPtrMetadataRequest()
	require.ErrorIs(t, Decode(req, claim), ErrTooLarge)

	many := make([]byte, 4+2*(maxElements+1))
	many[1], many[2], many[3] = byte((maxElements+1)>>16), byte((maxElements+1)>>8&0xff), byte((maxElements+1)&0xff)
	allocated := testing.AllocsPerRun(1, func() { require.ErrorIs(t, Decode(req, many), ErrTooLarge) })
	require.Less(t, allocated, 50.0)
	require.Nil(t, req.Topics)
}

func TestDecodeRefusesAKeyWithoutShape(t *testing.T) {
	require.ErrorIs(t, Decode(kmsg.NewPtrControlledShutdownRequest(), nil), ErrMalformed)
}

func FuzzDecode(f *testing.F) {
	for key := range shapes {
		for _, v := range []int16{0, key.Request().MaxVersion()} {
			req := key.Request()
			fill(reflect.ValueOf(req).Elem(), 2)
			req.SetVersion(v)
			f.Add(key.Int16(), v, req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		req := kmsg.RequestForKey(key)
		if req == nil || version < 0 || version > req.MaxVersion() {
			return
		}
		req.SetVersion(version)
		if err := Decode(req, body); err != nil {
			return
		}
		// What was decoded can be encoded and decoded again.
		again := kmsg.RequestForKey(key)
		again.SetVersion(version)
		require.NoError(t, Decode(again, req.AppendTo(nil)))
	})
}
