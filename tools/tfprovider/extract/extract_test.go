package extract

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// code and types are a resource in the shapes of line that the generator writes.
const code = `
function fooRuleToHclTerraform(struct) {
    const attrs = {
        days: {
            value: cdktf.numberToHclTerraform(struct.days),
            isBlock: false,
            type: "simple",
            storageClassType: "number",
        },
    };
}
class FooRuleOutputReference extends cdktf.ComplexObject {
}
class FooEndpointOutputReference extends cdktf.ComplexObject {
    // address - computed: true, optional: false, required: false
    get address() {
        return this.getStringAttribute('address');
    }
}
class FooEndpointList extends cdktf.ComplexList {
}
class Foo extends cdktf.TerraformResource {
    constructor(scope, id, config) {
        super(scope, id, {
            terraformResourceType: 'aws_foo',
        });
        // endpoint - computed: true, optional: false, required: false
        this._endpoint = new FooEndpointList(this, "endpoint", false);
        // rule - computed: false, optional: true, required: false
        this._rule = new FooRuleList(this, "rule", true);
    }
    // arn - computed: true, optional: false, required: false
    get arn() {
        return this.getStringAttribute('arn');
    }
    // zones - computed: true, optional: false, required: false
    get zones() {
        return cdktf.Fn.tolist(this.getListAttribute('zones'));
    }
    synthesizeHclAttributes() {
        const attrs = {
            name: {
                value: cdktf.stringToHclTerraform(this._name),
                isBlock: false,
                type: "simple",
                storageClassType: "string",
            },
            tags: {
                value: cdktf.hashMapperHcl(cdktf.stringToHclTerraform)(this._tags),
                isBlock: false,
                type: "map",
                storageClassType: "stringMap",
            },
            rule: {
                value: cdktf.listMapperHcl(fooRuleToHclTerraform, true)(this._rule.internalValue),
                isBlock: true,
                type: "set",
                storageClassType: "FooRuleList",
            },
        };
    }
}
`

const types = `
export interface FooConfig extends cdktf.TerraformMetaArguments {
    /**
    * Docs: {@link https://example.com/foo#name Foo#name}
    */
    readonly name: string;
    /**
    * Docs: {@link https://example.com/foo#tags Foo#tags}
    */
    readonly tags?: {
        [key: string]: string;
    };
    /**
    * rule block
    *
    * Docs: {@link https://example.com/foo#rule Foo#rule}
    */
    readonly rule?: FooRule[] | cdktf.IResolvable;
}
export interface FooRule {
    /**
    * Docs: {@link https://example.com/foo#days Foo#days}
    */
    readonly days: number;
}
`

// archive writes a package of files and returns its path and its integrity.
func archive(t *testing.T, files map[string]string) (path, integrity string) {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, body := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(body))}))
		_, err := w.Write([]byte(body))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	path = filepath.Join(t.TempDir(), "package.tgz")
	require.NoError(t, os.WriteFile(path, buf.Bytes(), 0o644))
	sum := sha512.Sum512(buf.Bytes())
	return path, "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestPackage(t *testing.T) {
	path, integrity := archive(t, map[string]string{"lib/foo/index.js": code, "lib/foo/index.d.ts": types, "lib/index.js": "class Not extends cdktf.TerraformResource {"})
	s, err := Package(path, integrity)
	require.NoError(t, err)
	require.Len(t, s.Resources, 1)
	foo := s.Resources["aws_foo"]
	text := schema.Type{Kind: "string"}
	require.Equal(t, map[string]schema.Attr{
		"name":  {Type: text, Required: true},
		"tags":  {Type: schema.Of("map", text), Optional: true, Computed: true},
		"arn":   {Type: text, Computed: true},
		"zones": {Type: schema.Of("set", text), Computed: true},
		"endpoint": {
			Type:     schema.Of("list", schema.Type{Kind: "object", Fields: map[string]schema.Type{"address": text}}),
			Computed: true,
		},
	}, foo.Attrs)
	require.Equal(t, map[string]schema.Nested{
		"rule": {Nesting: schema.Set, Block: schema.Block{
			Attrs: map[string]schema.Attr{"days": {Type: schema.Type{Kind: "number"}, Required: true}}, Blocks: map[string]schema.Nested{},
		}},
	}, foo.Blocks)

	saved := filepath.Join(t.TempDir(), "schema")
	require.NoError(t, s.Save(saved))
	loaded, err := schema.Load(saved)
	require.NoError(t, err)
	require.Equal(t, foo.TF().String(), loaded.Resources["aws_foo"].TF().String())
	other, err := schema.Load(saved, "aws_bar")
	require.NoError(t, err)
	require.Empty(t, other.Resources)
}

// TestUnknown: what is not understood is an error, and so is a package that is not the one it should be.
func TestUnknown(t *testing.T) {
	path, integrity := archive(t, map[string]string{"lib/foo/index.js": code, "lib/foo/index.d.ts": types})
	_, err := Package(path, "sha512-other")
	require.ErrorContains(t, err, integrity)

	path, integrity = archive(t, map[string]string{"lib/foo/index.js": code, "lib/foo/index.d.ts": "export interface FooRule {\n}"})
	_, err = Package(path, integrity)
	require.ErrorContains(t, err, "is not in interface")

	strange := bytes.ReplaceAll([]byte(code), []byte(`"stringMap"`), []byte(`"stringTree"`))
	path, integrity = archive(t, map[string]string{"lib/foo/index.js": string(strange), "lib/foo/index.d.ts": types})
	_, err = Package(path, integrity)
	require.ErrorContains(t, err, "unknown type map stringTree")
}
