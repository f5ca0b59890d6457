package provider

import (
	"maps"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// object is the fields of an object or a map, nil if it is null or not known.
func object(v tftypes.Value) map[string]tftypes.Value {
	var fields map[string]tftypes.Value
	if v.Type() == nil || v.IsNull() || !v.IsKnown() || v.As(&fields) != nil {
		return nil
	}
	return fields
}

// list is the elements of a collection, nil if it is null or not known.
func list(v tftypes.Value) []tftypes.Value {
	var elems []tftypes.Value
	if v.Type() == nil || v.IsNull() || !v.IsKnown() || v.As(&elems) != nil {
		return nil
	}
	return elems
}

// text is a string, "" if it is null, not known or something else.
func text(v tftypes.Value) string {
	var s string
	if v.Type() == nil || v.IsNull() || !v.IsKnown() || v.As(&s) != nil {
		return ""
	}
	return s
}

// texts is a map of strings.
func texts(v tftypes.Value) map[string]string {
	out := map[string]string{}
	for name, e := range object(v) {
		out[name] = text(e)
	}
	return out
}

func stringMap(m map[string]string) tftypes.Value {
	elems := map[string]tftypes.Value{}
	for name, s := range m {
		elems[name] = tftypes.NewValue(tftypes.String, s)
	}
	return tftypes.NewValue(tftypes.Map{ElementType: tftypes.String}, elems)
}

// walk returns v, a value of b, with each attribute replaced by what change makes of it. top: it is that of a
// resource itself, not of a block in it.
func walk(b schema.Block, v tftypes.Value, top bool, change func(name string, a schema.Attr, v tftypes.Value, top bool) tftypes.Value) tftypes.Value {
	fields := object(v)
	if fields == nil {
		return v
	}
	fields = maps.Clone(fields)
	for name, a := range b.Attrs {
		fields[name] = change(name, a, fields[name], top)
	}
	for name, n := range b.Blocks {
		if n.Nesting == schema.Single {
			fields[name] = walk(n.Block, fields[name], false, change)
			continue
		}
		elems := list(fields[name])
		if elems == nil {
			continue
		}
		changed := make([]tftypes.Value, len(elems))
		for i, e := range elems {
			changed[i] = walk(n.Block, e, false, change)
		}
		fields[name] = tftypes.NewValue(fields[name].Type(), changed)
	}
	return tftypes.NewValue(b.TF(), fields)
}
