package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

var (
	str  = schema.Type{Kind: "string"}
	role = schema.Block{Attrs: map[string]schema.Attr{
		"name":               {Type: str, Optional: true, Computed: true},
		"description":        {Type: str, Optional: true, Computed: true},
		"assume_role_policy": {Type: str, Required: true},
		"id":                 {Type: str, Optional: true, Computed: true},
		"arn":                {Type: str, Computed: true},
		"tags":               {Type: schema.Of("map", str), Optional: true, Computed: true},
		"tags_all":           {Type: schema.Of("map", str), Optional: true, Computed: true},
	}}
	known = &schema.Schema{Resources: map[string]schema.Block{"aws_iam_role": role}, Data: map[string]schema.Block{"aws_region": {}}}
)

const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// roleOf is a value with these arguments and nothing else.
func roleOf(args map[string]string) tftypes.Value {
	fields := map[string]tftypes.Value{}
	for name, a := range role.Attrs {
		fields[name] = tftypes.NewValue(a.Type.TF(), nil)
		if v, ok := args[name]; ok {
			fields[name] = tftypes.NewValue(tftypes.String, v)
		}
	}
	return tftypes.NewValue(role.TF(), fields)
}

func value(t *testing.T, v *tfprotov5.DynamicValue) map[string]tftypes.Value {
	t.Helper()
	got, err := v.Unmarshal(role.TF())
	require.NoError(t, err)
	return object(got)
}

// TestPlanAndApply: what AWS decides is unknown in a plan and there after an apply; what was left out stays left out.
func TestPlanAndApply(t *testing.T) {
	s := New(known)
	s.conf.tags = map[string]string{"project": "p"}
	config, err := tfprotov5.NewDynamicValue(role.TF(), roleOf(map[string]string{"name": "r", "assume_role_policy": trust}))
	require.NoError(t, err)
	planned, err := s.PlanResourceChange(t.Context(), &tfprotov5.PlanResourceChangeRequest{TypeName: "aws_iam_role", ProposedNewState: &config})
	require.NoError(t, err)
	require.Empty(t, planned.Diagnostics)
	plan := value(t, planned.PlannedState)
	require.False(t, plan["arn"].IsKnown())
	require.False(t, plan["id"].IsKnown())
	require.True(t, plan["description"].IsNull())
	require.Equal(t, map[string]string{"project": "p"}, texts(plan["tags_all"]))

	applied, err := s.ApplyResourceChange(t.Context(), &tfprotov5.ApplyResourceChangeRequest{TypeName: "aws_iam_role", PlannedState: planned.PlannedState})
	require.NoError(t, err)
	require.Empty(t, applied.Diagnostics)
	state := value(t, applied.NewState)
	require.Equal(t, "arn:aws:iam::123456789012:role/r", text(state["arn"]))
	require.Equal(t, "r", text(state["id"]))
	require.True(t, state["description"].IsNull())
}

func TestRulesOfPolicies(t *testing.T) {
	for document, want := range map[string]string{
		trust:                      "",
		`{`:                        "not a policy",
		`{"Version":"2012-10-17"}`: "at least one Statement",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Permit"}]}`:                                               `effect "Permit"`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow"}]}`:                                                "no action",
		`{"Version":"2012-10-17","Statement":[{"Sid":"a b","Effect":"Allow"}]}`:                                    "letters and digits",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject"}]}`:                        "neither principal nor resource",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"GetObject","Resource":"*"}]}`:            "no action of IAM",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["log/*"]}]}`: "no ARN",
	} {
		err := isPolicy(tftypes.NewValue(tftypes.String, document))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, document)
	}
}

// TestChecks: rules reach into blocks, and what is not known breaks none.
func TestChecks(t *testing.T) {
	require.Len(t, check("aws_iam_role", roleOf(map[string]string{"name": "no spaces", "assume_role_policy": "{"})), 2)
	unknown := object(roleOf(nil))
	unknown["assume_role_policy"] = tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	require.Empty(t, check("aws_iam_role", tftypes.NewValue(role.TF(), unknown)))

	block := schema.Block{Attrs: map[string]schema.Attr{}, Blocks: map[string]schema.Nested{
		"attribute": {Nesting: schema.Set, Block: schema.Block{Attrs: map[string]schema.Attr{"type": {Type: str, Required: true}}}},
	}}
	attribute := func(kind string) tftypes.Value {
		return tftypes.NewValue(block.Blocks["attribute"].Block.TF(), map[string]tftypes.Value{"type": tftypes.NewValue(tftypes.String, kind)})
	}
	table := tftypes.NewValue(block.TF(), map[string]tftypes.Value{
		"attribute": tftypes.NewValue(block.Blocks["attribute"].TF(), []tftypes.Value{attribute("S"), attribute("X")}),
	})
	diags := check("aws_dynamodb_table", table)
	require.Len(t, diags, 1)
	require.Contains(t, diags[0].Summary, `attribute.type: "X" is none of S, N, B`)
}

// TestDataSourceWithoutAnswer is refused rather than made up.
func TestDataSourceWithoutAnswer(t *testing.T) {
	_, err := answer("aws_cook", schema.Block{}, tftypes.NewValue(schema.Block{}.TF(), map[string]tftypes.Value{}), settings{})
	require.ErrorContains(t, err, "no answer to data source aws_cook")
}

func TestSchemaIsServed(t *testing.T) {
	out, err := New(known).GetProviderSchema(t.Context(), &tfprotov5.GetProviderSchemaRequest{})
	require.NoError(t, err)
	require.Contains(t, out.ResourceSchemas, "aws_iam_role")
	require.Contains(t, out.DataSourceSchemas, "aws_region")
}
