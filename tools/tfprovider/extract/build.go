package extract

import (
	"errors"
	"fmt"
	"strings"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// errAny: an argument whose type the package does not tell, as of statements of WAF.
var errAny = errors.New("a type that is not told")

// addTo adds what the folder declares.
func (f *folder) addTo(s *schema.Schema) error {
	if f.kind == "" {
		return nil
	}
	if f.tfType == "" {
		return fmt.Errorf("no type is named")
	}
	b, err := f.block(f.main, f.config)
	if errors.Is(err, errAny) {
		return nil // a resource that is not there is refused; a type that is not known would be let through
	}
	if err != nil {
		return err
	}
	switch f.kind {
	case "Provider":
		delete(b.Attrs, "alias") // which the language has for every provider
		s.Provider, s.Version = b, f.version
	case "Resource":
		s.Resources[f.tfType] = b
	default:
		s.Data[f.tfType] = b
	}
	return nil
}

// block is what may stand in a struct, whose required arguments an interface names.
func (f *folder) block(of, iface string) (schema.Block, error) {
	b := schema.Block{Attrs: map[string]schema.Attr{}, Blocks: map[string]schema.Nested{}}
	args, ok := f.args[of]
	if !ok {
		return b, fmt.Errorf("%s has no arguments", of)
	}
	for name, a := range args {
		required, known := f.required[iface][name]
		if !known {
			return b, fmt.Errorf("%s: argument %s is not in interface %s", of, name, iface)
		}
		c := f.computed[of][name]
		switch {
		case a.block && c == nil && a.kind != "map":
			nested, err := f.nested(a, required)
			if err != nil {
				return b, err
			}
			b.Blocks[name] = nested
		case a.block: // an attribute that may be written as blocks, since it is computed if it is not written; or a map
			t, err := f.objects(a)
			if err != nil {
				return b, err
			}
			b.Attrs[name] = schema.Attr{Type: t, Required: required, Optional: !required, Computed: !required}
		default:
			t, err := argType(a)
			if err != nil {
				return b, fmt.Errorf("%s: argument %s: %w", of, name, err)
			}
			// Which of the optional arguments are computed if they are left out is not said: any may be.
			b.Attrs[name] = schema.Attr{Type: t, Required: required, Optional: !required, Computed: !required && f.kind != "Provider"}
		}
	}
	for name, c := range f.computed[of] {
		if _, ok := args[name]; ok {
			continue
		}
		t, err := f.computedType(c)
		if err != nil {
			return b, fmt.Errorf("%s: computed %s: %w", of, name, err)
		}
		b.Attrs[name] = schema.Attr{Type: t, Computed: true}
	}
	return b, nil
}

func (f *folder) nested(a *arg, required bool) (schema.Nested, error) {
	b, err := f.block(a.of, a.of)
	n := schema.Nested{Block: b, One: !a.many, Required: required}
	switch a.kind {
	case "struct":
		n.Nesting = schema.Single
	case "set":
		n.Nesting = schema.Set
	case "list":
		n.Nesting = schema.List
	default:
		return n, fmt.Errorf("%s: unknown kind of block %q", a.of, a.kind)
	}
	return n, err
}

// objects is the type of an attribute that may be written as blocks.
func (f *folder) objects(a *arg) (schema.Type, error) {
	b, err := f.block(a.of, a.of)
	if err != nil {
		return schema.Type{}, err
	}
	return schema.Of(collection(a.kind), object(b)), nil
}

func object(b schema.Block) schema.Type {
	t := schema.Type{Kind: "object", Fields: map[string]schema.Type{}}
	for name, a := range b.Attrs {
		t.Fields[name] = a.Type
	}
	for name, n := range b.Blocks {
		inner := object(n.Block)
		if n.Nesting != schema.Single {
			inner = schema.Of(string(n.Nesting), inner)
		}
		t.Fields[name] = inner
	}
	return t
}

func collection(kind string) string {
	if kind == "set" || kind == "map" {
		return kind
	}
	return "list"
}

// argType is the type of an argument: stringMapList is a list of maps of strings.
func argType(a *arg) (schema.Type, error) {
	if a.kind == "simple" {
		return primitive(a.storage)
	}
	rest, outer := a.storage, ""
	for _, suffix := range []string{"List", "Map"} {
		if s, ok := strings.CutSuffix(rest, suffix); ok {
			rest, outer = s, suffix
			break
		}
	}
	if outer == "" {
		return schema.Type{}, fmt.Errorf("unknown type %s %s", a.kind, a.storage)
	}
	inner, err := argType(&arg{kind: innerKind(rest), storage: rest})
	if err != nil {
		return schema.Type{}, err
	}
	if outer == "Map" {
		return schema.Of("map", inner), nil
	}
	return schema.Of(collection(a.kind), inner), nil
}

func innerKind(storage string) string {
	if strings.HasSuffix(storage, "List") || strings.HasSuffix(storage, "Map") {
		return "list"
	}
	return "simple"
}

func primitive(name string) (schema.Type, error) {
	switch name {
	case "string", "number":
		return schema.Type{Kind: name}, nil
	case "boolean":
		return schema.Type{Kind: "bool"}, nil
	case "any":
		return schema.Type{}, errAny
	default:
		return schema.Type{}, fmt.Errorf("unknown type %q", name)
	}
}

var getters = map[string]schema.Type{
	"getStringAttribute":        {Kind: "string"},
	"getNumberAttribute":        {Kind: "number"},
	"getBooleanAttribute":       {Kind: "bool"},
	"getListAttribute":          schema.Of("list", schema.Type{Kind: "string"}),
	"getNumberListAttribute":    schema.Of("list", schema.Type{Kind: "number"}),
	"getStringMapAttribute":     schema.Of("map", schema.Type{Kind: "string"}),
	"getNumberMapAttribute":     schema.Of("map", schema.Type{Kind: "number"}),
	"getBooleanMapAttribute":    schema.Of("map", schema.Type{Kind: "bool"}),
	"interpolationForAttribute": schema.Of("list", schema.Of("map", schema.Type{Kind: "string"})),
}

// computedType is the type of what only the provider sets.
func (f *folder) computedType(c *computed) (schema.Type, error) {
	if c.getter != "" {
		t, ok := getters[c.getter]
		if !ok {
			return t, fmt.Errorf("unknown getter %s", c.getter)
		}
		if c.tolist {
			t.Kind = "set"
		}
		return t, nil
	}
	switch c.coll + c.class {
	case "MapString":
		return schema.Of("map", schema.Type{Kind: "string"}), nil
	case "MapNumber":
		return schema.Of("map", schema.Type{Kind: "number"}), nil
	case "MapBoolean":
		return schema.Of("map", schema.Type{Kind: "bool"}), nil
	}
	inner := schema.Type{Kind: "object", Fields: map[string]schema.Type{}}
	for name, field := range f.computed[c.class] {
		t, err := f.computedType(field)
		if err != nil {
			return inner, fmt.Errorf("%s: %w", name, err)
		}
		inner.Fields[name] = t
	}
	switch {
	case c.coll == "OutputReference":
		return inner, nil
	case c.coll == "Map":
		return schema.Of("map", inner), nil
	case c.set:
		return schema.Of("set", inner), nil
	default:
		return schema.Of("list", inner), nil
	}
}
