// Package provider serves a schema as the provider of AWS would, without AWS. What the language checks against
// a schema is checked: names, types, required arguments. Some rules of AWS are added in checks.go. A plan leaves
// unknown what AWS would decide; an apply makes it up, so that configurations can be applied in tests, and keeps
// nothing. It cannot tell which optional arguments AWS fills in, which of them conflict, or which changes replace a
// resource, and says so nowhere: what passes here may still be refused by AWS.
package provider

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/forebaylog/forebay/tools/tfprovider/schema"
)

// Server answers OpenTofu and Terraform. It is safe for concurrent use.
type Server struct {
	schema *schema.Schema

	mu   sync.Mutex
	conf settings
}

// settings are what a configuration says of the provider.
type settings struct {
	region string
	tags   map[string]string // default_tags
}

// New returns a Server of s.
func New(s *schema.Schema) *Server { return &Server{schema: s, conf: settings{region: defaultRegion}} }

func (s *Server) settings() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf
}

// GetMetadata names what there is.
func (s *Server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	out := &tfprotov5.GetMetadataResponse{}
	for name := range s.schema.Resources {
		out.Resources = append(out.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range s.schema.Data {
		out.DataSources = append(out.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return out, nil
}

// GetProviderSchema tells all of the schema.
func (s *Server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: s.schema.Provider.Proto()},
		ResourceSchemas:   protos(s.schema.Resources),
		DataSourceSchemas: protos(s.schema.Data),
	}, nil
}

func protos(blocks map[string]schema.Block) map[string]*tfprotov5.Schema {
	out := map[string]*tfprotov5.Schema{}
	for name, b := range blocks {
		out[name] = &tfprotov5.Schema{Block: b.Proto()}
	}
	return out
}

// PrepareProviderConfig takes the configuration as it is.
func (s *Server) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

// ConfigureProvider takes the region and the tags of all resources.
func (s *Server) ConfigureProvider(_ context.Context, r *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	v, err := r.Config.Unmarshal(s.schema.Provider.TF())
	if err != nil {
		return &tfprotov5.ConfigureProviderResponse{Diagnostics: failed(err)}, nil
	}
	conf := settings{region: defaultRegion, tags: map[string]string{}}
	fields := object(v)
	if region := text(fields["region"]); region != "" {
		conf.region = region
	}
	for _, block := range list(fields["default_tags"]) {
		conf.tags = texts(object(block)["tags"])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf = conf
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

// StopProvider has nothing to stop.
func (s *Server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

// ValidateResourceTypeConfig applies the rules of checks.go.
func (s *Server) ValidateResourceTypeConfig(_ context.Context, r *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	v, err := r.Config.Unmarshal(s.schema.Resources[r.TypeName].TF())
	if err != nil {
		return &tfprotov5.ValidateResourceTypeConfigResponse{Diagnostics: failed(err)}, nil
	}
	return &tfprotov5.ValidateResourceTypeConfigResponse{Diagnostics: check(r.TypeName, v)}, nil
}

// UpgradeResourceState reads a state, all of which are of this version.
func (s *Server) UpgradeResourceState(_ context.Context, r *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	t := s.schema.Resources[r.TypeName].TF()
	v, err := r.RawState.Unmarshal(t)
	if err != nil {
		return &tfprotov5.UpgradeResourceStateResponse{Diagnostics: failed(err)}, nil
	}
	state, err := tfprotov5.NewDynamicValue(t, v)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &state, Diagnostics: failed(err)}, nil
}

// ReadResource finds everything as it was left.
func (s *Server) ReadResource(_ context.Context, r *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: r.CurrentState, Private: r.Private}, nil
}

// PlanResourceChange leaves unknown what AWS would decide.
func (s *Server) PlanResourceChange(_ context.Context, r *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	out := &tfprotov5.PlanResourceChangeResponse{PlannedState: r.ProposedNewState, PlannedPrivate: r.PriorPrivate}
	b := s.schema.Resources[r.TypeName]
	v, err := r.ProposedNewState.Unmarshal(b.TF())
	if err != nil || v.IsNull() { // null: to be destroyed
		out.Diagnostics = failed(err)
		return out, nil
	}
	out.PlannedState, out.Diagnostics = dynamic(b, plan(r.TypeName, b, v, s.settings()))
	return out, nil
}

// ApplyResourceChange makes up what the plan has left unknown.
func (s *Server) ApplyResourceChange(_ context.Context, r *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	out := &tfprotov5.ApplyResourceChangeResponse{NewState: r.PlannedState, Private: r.PlannedPrivate}
	b := s.schema.Resources[r.TypeName]
	v, err := r.PlannedState.Unmarshal(b.TF())
	if err != nil || v.IsNull() {
		out.Diagnostics = failed(err)
		return out, nil
	}
	if out.Diagnostics = check(r.TypeName, v); len(out.Diagnostics) > 0 { // all is known by now
		return out, nil
	}
	out.NewState, out.Diagnostics = dynamic(b, fill(r.TypeName, b, v, s.settings()))
	return out, nil
}

// ValidateDataSourceConfig leaves all checks to the language.
func (s *Server) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

// ReadDataSource answers as data.go says.
func (s *Server) ReadDataSource(_ context.Context, r *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	b := s.schema.Data[r.TypeName]
	v, err := r.Config.Unmarshal(b.TF())
	if err != nil {
		return &tfprotov5.ReadDataSourceResponse{Diagnostics: failed(err)}, nil
	}
	if v, err = answer(r.TypeName, b, v, s.settings()); err != nil {
		return &tfprotov5.ReadDataSourceResponse{Diagnostics: failed(err)}, nil
	}
	state, diags := dynamic(b, v)
	return &tfprotov5.ReadDataSourceResponse{State: state, Diagnostics: diags}, nil
}

func dynamic(b schema.Block, v tftypes.Value) (*tfprotov5.DynamicValue, []*tfprotov5.Diagnostic) {
	out, err := tfprotov5.NewDynamicValue(b.TF(), v)
	return &out, failed(err)
}

func failed(err error) []*tfprotov5.Diagnostic {
	if err == nil {
		return nil
	}
	return []*tfprotov5.Diagnostic{{Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error()}}
}

func unsupported(what string) []*tfprotov5.Diagnostic {
	return failed(fmt.Errorf("the stand-in for the AWS provider has no %s", what))
}
