package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"

	"github.com/forebaylog/forebay/infra/pause"
)

// OpenDynamoDB opens a table of DynamoDB, or makes it if there is none and cfg says so. It
// fails with ErrNoTable, ErrForeign, ErrNoCredentials, ErrAccessDenied, ErrUnreachable
// or ErrClockSkew, which say what to do. Run Probe before relying on the table.
func OpenDynamoDB(ctx context.Context, cfg DynamoConfig) (Store, error) {
	d, err := openDynamo(ctx, cfg.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open DynamoDB table %s: %w", cfg.Table, err)
	}
	return d, nil
}

func openDynamo(ctx context.Context, cfg DynamoConfig) (*dynamo, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.OpenTimeout)
	defer cancel()
	sdk, err := loadSDK(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d := &dynamo{cfg: cfg, http: newHTTPClient(sdk.HTTPClient, cfg.Concurrency), where: "region " + sdk.Region}
	d.client = dynamodb.NewFromConfig(sdk, func(o *dynamodb.Options) {
		o.Retryer = aws.NopRetryer{} // see repeat
		o.HTTPClient = tracingClient{d.http}
		o.DisableValidateResponseChecksum = true // tracingClient does it
		o.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
			cfg.Logger.Debug("AWS SDK: "+fmt.Sprintf(format, v...), "table", cfg.Table)
		})
		o.EndpointDiscovery.EnableEndpointDiscovery = aws.EndpointDiscoveryDisabled
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
			d.where = cfg.Endpoint
		}
	})
	if err := d.prepare(ctx); err != nil {
		d.http.CloseIdleConnections()
		return nil, err
	}
	return d, nil
}

// endpointRegion signs requests to an endpoint of one's own, to which it means nothing.
const endpointRegion = "us-east-1"

// loadSDK finds the region and checks that there are credentials.
func loadSDK(ctx context.Context, cfg DynamoConfig) (aws.Config, error) {
	sdk, err := config.LoadDefaultConfig(ctx, config.WithRegion(cfg.Region))
	switch {
	case err != nil:
		return sdk, fmt.Errorf("load the AWS configuration: %w", err)
	case sdk.Region == "" && cfg.Endpoint != "":
		sdk.Region = endpointRegion
	case sdk.Region == "":
		return sdk, errors.New("no AWS region: pass region=, or set AWS_REGION")
	}
	if _, err := sdk.Credentials.Retrieve(ctx); err != nil {
		return sdk, fmt.Errorf("%w: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine: %w", ErrNoCredentials, err)
	}
	return sdk, nil
}

// How long to wait between looks at a table that is being made or removed.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// prepare returns when the table is active and has the right keys. When several create it at
// once one succeeds, and the others find it being made.
func (d *dynamo) prepare(ctx context.Context) error {
	status := "there is none" // what the last look showed
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		table, err := d.describe(ctx)
		switch {
		case errors.Is(err, ErrNoTable) && d.cfg.Create:
			if err := d.create(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		case table.TableStatus == types.TableStatusActive, table.TableStatus == types.TableStatusUpdating:
			d.warnReplicas(ctx, table)
			return checkSchema(table)
		case table.TableStatus == types.TableStatusCreating, table.TableStatus == types.TableStatusDeleting:
			status = string(table.TableStatus)
		default:
			return fmt.Errorf("its status is %s: see to it in the AWS console", table.TableStatus)
		}
		if pause.For(ctx, wait) != nil {
			return fmt.Errorf("await the table, last: %s: %w", status, ctx.Err())
		}
	}
}

func (d *dynamo) describe(ctx context.Context) (*types.TableDescription, error) {
	var out *dynamodb.DescribeTableOutput
	err := d.read(ctx, opDescribe, func(ctx context.Context) (_ *types.ConsumedCapacity, err error) {
		out, err = d.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &d.cfg.Table})
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	if out.Table == nil {
		return nil, fmt.Errorf("%s does not answer like DynamoDB: check the endpoint", d.where)
	}
	return out.Table, nil
}

// create asks for the table. It is no error if another did so before.
func (d *dynamo) create(ctx context.Context) error {
	err := d.read(ctx, opCreate, func(ctx context.Context) (*types.ConsumedCapacity, error) {
		_, err := d.client.CreateTable(ctx, &dynamodb.CreateTableInput{
			TableName: &d.cfg.Table, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{
				{AttributeName: aws.String(attrPart), AttributeType: types.ScalarAttributeTypeS},
				{AttributeName: aws.String(attrSort), AttributeType: types.ScalarAttributeTypeS},
			},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String(attrPart), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String(attrSort), KeyType: types.KeyTypeRange},
			},
		})
		return nil, err
	})
	var inUse *types.ResourceInUseException
	if errors.As(err, &inUse) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	d.cfg.Logger.InfoContext(ctx, "table created", "table", d.cfg.Table, "at", d.where)
	return nil
}

// warnReplicas: in a global table conditions hold among the writers of one region only, unless
// its regions are strongly consistent.
func (d *dynamo) warnReplicas(ctx context.Context, table *types.TableDescription) {
	if len(table.Replicas) > 0 && table.MultiRegionConsistency != types.MultiRegionConsistencyStrong {
		d.cfg.Logger.WarnContext(ctx, "the table is replicated to other regions: every broker must use the same region", "table", d.cfg.Table, "at", d.where)
	}
}

// checkSchema fails with ErrForeign unless the table has the keys that create gives it.
func checkSchema(table *types.TableDescription) error {
	const want = attrPart + " S HASH, " + attrSort + " S RANGE"
	var keys []string
	for _, k := range table.KeySchema {
		name := aws.ToString(k.AttributeName)
		i := slices.IndexFunc(table.AttributeDefinitions, func(a types.AttributeDefinition) bool { return aws.ToString(a.AttributeName) == name })
		if i < 0 {
			return fmt.Errorf("%w: key %s has no type", ErrForeign, name)
		}
		keys = append(keys, fmt.Sprintf("%s %s %s", name, table.AttributeDefinitions[i].AttributeType, k.KeyType))
	}
	if got := strings.Join(keys, ", "); got != want {
		return fmt.Errorf("%w: its keys are %s, want %s: use another name, or create=true to have it made", ErrForeign, got, want)
	}
	return nil
}
