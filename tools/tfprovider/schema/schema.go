// Package schema holds what is known of the AWS provider: its resources, data sources, arguments and
// blocks, with their types. It is written by package extract and served by package provider. It knows
// nothing of values: no defaults, no enumerations, no conflicts between arguments.
package schema

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// Schema is all of a provider.
type Schema struct {
	Version   string           `json:"version"` // of the provider, such as 6.25.0
	Provider  Block            `json:"provider"`
	Resources map[string]Block `json:"resources"`
	Data      map[string]Block `json:"data"`
}

// Block is what may stand between two braces.
type Block struct {
	Attrs  map[string]Attr   `json:"attrs,omitempty"`
	Blocks map[string]Nested `json:"blocks,omitempty"`
}

// Attr is an argument, or what a provider computes.
type Attr struct {
	Type     Type `json:"type"`
	Required bool `json:"required,omitempty"`
	Optional bool `json:"optional,omitempty"`
	Computed bool `json:"computed,omitempty"`
}

// Nesting is how many blocks of a name there may be, and what they are together.
type Nesting string

// The ways of nesting.
const (
	Single Nesting = "single"
	List   Nesting = "list"
	Set    Nesting = "set"
)

// Nested is a block in a block.
type Nested struct {
	Nesting  Nesting `json:"nesting"`
	One      bool    `json:"one,omitempty"`      // there is one at the most
	Required bool    `json:"required,omitempty"` // there is one at the least
	Block    Block   `json:"block"`
}

// Type is the type of an attribute: a primitive, a collection of Elem, or an object of Fields.
type Type struct {
	Kind   string          `json:"kind"` // string, number, bool, list, set, map, object
	Elem   *Type           `json:"elem,omitempty"`
	Fields map[string]Type `json:"fields,omitempty"`
}

// Of is the collection kind of elem.
func Of(kind string, elem Type) Type { return Type{Kind: kind, Elem: &elem} }

// TF is the type in the words of the plugin protocol.
func (t Type) TF() tftypes.Type {
	switch t.Kind {
	case "number":
		return tftypes.Number
	case "bool":
		return tftypes.Bool
	case "list":
		return tftypes.List{ElementType: t.Elem.TF()}
	case "set":
		return tftypes.Set{ElementType: t.Elem.TF()}
	case "map":
		return tftypes.Map{ElementType: t.Elem.TF()}
	case "object":
		fields := map[string]tftypes.Type{}
		for name, f := range t.Fields {
			fields[name] = f.TF()
		}
		return tftypes.Object{AttributeTypes: fields}
	default:
		return tftypes.String
	}
}

// Proto is the block in the words of the plugin protocol.
func (b Block) Proto() *tfprotov5.SchemaBlock {
	out := &tfprotov5.SchemaBlock{}
	for _, name := range slices.Sorted(maps.Keys(b.Attrs)) {
		a := b.Attrs[name]
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: a.Type.TF(), Required: a.Required, Optional: a.Optional, Computed: a.Computed,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Blocks)) {
		out.BlockTypes = append(out.BlockTypes, b.Blocks[name].proto(name))
	}
	return out
}

func (n Nested) proto(name string) *tfprotov5.SchemaNestedBlock {
	out := &tfprotov5.SchemaNestedBlock{TypeName: name, Block: n.Block.Proto()}
	switch n.Nesting {
	case Single:
		out.Nesting = tfprotov5.SchemaNestedBlockNestingModeSingle
		return out
	case Set:
		out.Nesting = tfprotov5.SchemaNestedBlockNestingModeSet
	default:
		out.Nesting = tfprotov5.SchemaNestedBlockNestingModeList
	}
	if n.One {
		out.MaxItems = 1
	}
	if n.Required {
		out.MinItems = 1
	}
	return out
}

// TF is the type of a value of the block.
func (b Block) TF() tftypes.Object {
	fields := map[string]tftypes.Type{}
	for name, a := range b.Attrs {
		fields[name] = a.Type.TF()
	}
	for name, n := range b.Blocks {
		fields[name] = n.TF()
	}
	return tftypes.Object{AttributeTypes: fields}
}

// TF is the type of all blocks of a name together.
func (n Nested) TF() tftypes.Type {
	switch n.Nesting {
	case Single:
		return n.Block.TF()
	case Set:
		return tftypes.Set{ElementType: n.Block.TF()}
	default:
		return tftypes.List{ElementType: n.Block.TF()}
	}
}

// Save writes the schema to a file, compressed.
func (s *Schema) Save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the schema: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := gzip.NewWriter(f)
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return fmt.Errorf("write the schema to %s: %w", path, err)
	}
	return z.Close()
}

// Load reads what Save has written. only, if not empty, names the resources and data sources that are wanted:
// reading and serving all of them takes more than half a second.
func Load(path string, only ...string) (*Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read the schema %s: %w", path, err)
	}
	var read struct {
		Version         string
		Provider        Block
		Resources, Data map[string]json.RawMessage
	}
	if err := json.NewDecoder(z).Decode(&read); err != nil {
		return nil, fmt.Errorf("read the schema %s: %w", path, err)
	}
	s := &Schema{Version: read.Version, Provider: read.Provider}
	for _, half := range []struct {
		from map[string]json.RawMessage
		to   *map[string]Block
	}{{read.Resources, &s.Resources}, {read.Data, &s.Data}} {
		if *half.to, err = blocks(half.from, only); err != nil {
			return nil, fmt.Errorf("read the schema %s: %w", path, err)
		}
	}
	return s, nil
}

func blocks(raw map[string]json.RawMessage, only []string) (map[string]Block, error) {
	out := map[string]Block{}
	for name, text := range raw {
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		var b Block
		if err := json.Unmarshal(text, &b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = b
	}
	return out, nil
}
