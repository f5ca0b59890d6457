provider "aws" {
  region = "eu-central-1"
}

variables {
  name         = "events"
  vpc_id       = "vpc-1"
  subnet_ids   = ["subnet-a", "subnet-b", "subnet-c"]
  client_cidrs = ["10.0.0.0/16"]
  package_dir  = "../bin/functions"
  binary       = "s3://artifacts/forebay-arm64"
}

run "on_ec2" {
  assert {
    condition     = output.object_store == "s3://events-log-123456789012-eu-central-1?region=eu-central-1" && output.metadata == "dynamodb://events?region=eu-central-1" && output.wal_store == null
    error_message = "Not URLs that brokers take: ${output.object_store}, ${output.metadata}"
  }
  assert {
    condition     = keys(output.brokers) == ["1", "2", "3"] && [for id, b in local.brokers : b.zone] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    error_message = "Brokers go round the zones."
  }
  assert {
    condition     = local.broker_policy == output.policies["broker"]
    error_message = "Brokers that leave maintenance to functions have the rights of a broker."
  }
  assert {
    condition     = output.api_url != null && output.bootstrap != null && length(output.alarm_topic_arns) == 1
    error_message = "A part of the cluster is missing."
  }
}

run "brokers_maintain" {
  variables {
    maintenance   = "brokers"
    broker_count  = 5
    wal_zone_id   = "euc1-az1"
    object_prefix = "prod/"
    kms_key_arn   = "arn:aws:kms:eu-central-1:123456789012:key/1"
    api_endpoint  = "http_api"
  }

  assert {
    condition     = local.broker_policy == output.policies["node"] && length(local.functions) == 1
    error_message = "Brokers that do maintenance themselves have the rights for it, and only the API is a function."
  }
  assert {
    condition     = output.object_store == "s3://events-log-123456789012-eu-central-1/prod?region=eu-central-1" && output.wal_store == "s3://events-wal--euc1-az1--x-s3?region=eu-central-1"
    error_message = "Not URLs that brokers take: ${output.object_store}, ${output.wal_store}"
  }
  assert {
    condition     = strcontains(output.api_url, ".execute-api.") && strcontains(output.api_caller_policy, "execute-api:Invoke")
    error_message = "The API is not where it was asked for."
  }
  assert {
    condition     = local.brokers["4"].zone == "eu-central-1a"
    error_message = "Brokers go round the zones."
  }
  assert {
    condition     = strcontains(output.policies["node"], "s3express:CreateSession") && strcontains(output.policies["node"], "kms:GenerateDataKey")
    error_message = "Rights on the WAL bucket or on the key are missing."
  }
}

run "refuses_a_cluster_that_nobody_maintains" {
  command = plan

  variables {
    package_dir = null
    binary      = null
    vpc_id      = null
  }

  expect_failures = [var.maintenance, var.binary, var.vpc_id]
}
