provider "aws" {
  region = "eu-central-1"
}

variables {
  name   = "events"
  policy = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"Read\",\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\"],\"Resource\":[\"arn:aws:s3:::log/*\"]}]}"
  binary = "s3://artifacts/forebay/forebay-arm64"

  object_store       = "s3://log/prod?region=eu-central-1"
  metadata           = "dynamodb://events?region=eu-central-1"
  security_group_ids = ["sg-1"]
  brokers = {
    1 = { subnet_id = "subnet-a", zone = "eu-central-1a", advertised = "kafka.example.internal:9093", target_group_arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/a/1"] }
    2 = { subnet_id = "subnet-b", zone = "eu-central-1b", advertised = "kafka.example.internal:9094", target_group_arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/b/1"] }
  }
}

run "identity_is_stable" {
  assert {
    condition = alltrue([for id, g in aws_autoscaling_group.this :
    g.min_size == 1 && g.max_size == 1 && g.vpc_zone_identifier == toset([var.brokers[id].subnet_id]) && g.target_group_arns == toset(var.brokers[id].target_group_arns)])
    error_message = "A broker is one machine in one subnet behind its own listener."
  }
  assert {
    condition = alltrue(flatten([for id, t in aws_launch_template.this : [for line in [
      "FOREBAY_NODE_ID=${id}", "FOREBAY_RACK=${var.brokers[id].zone}", "FOREBAY_ADVERTISED_LISTENERS=PLAINTEXT://${var.brokers[id].advertised}",
      "FOREBAY_OBJECT_STORE=${var.object_store}", "FOREBAY_METADATA=${var.metadata}", "FOREBAY_MAINTENANCE=none", "FOREBAY_COLLECT_INTERVAL=-1s",
      "ExecStart=/usr/local/bin/forebay broker",
    ] : contains(split("\n", base64decode(t.user_data)), line)]]))
    error_message = "A machine is started with other settings: ${base64decode(aws_launch_template.this["1"].user_data)}"
  }
  assert {
    condition     = alltrue([for g in aws_autoscaling_group.this : g.instance_maintenance_policy[0].max_healthy_percentage == 100])
    error_message = "Two machines of one node id would run at once."
  }
}

run "machines_are_closed" {
  assert {
    condition     = alltrue([for t in aws_launch_template.this : t.metadata_options[0].http_tokens == "required" && t.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "Only IMDSv2."
  }
  assert {
    condition     = alltrue(flatten([for t in aws_launch_template.this : [for d in t.block_device_mappings : d.ebs[0].encrypted == "true"]]))
    error_message = "A volume is not encrypted."
  }
  assert {
    condition     = aws_iam_role_policy.job.policy == var.policy
    error_message = "Brokers have other rights than those of their job."
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.start.policy).Statement[0].Resource == ["arn:aws:s3:::artifacts/forebay/forebay-arm64"]
    error_message = "A machine may fetch its binary and nothing else."
  }
}

run "brokers_maintain" {
  variables {
    functions_maintain = false
    binary_sha256      = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    settings           = { FOREBAY_HOT_BYTES = "10737418240" }
    wal_store          = "s3://fast--euc1-az1--x-s3"
    session_manager    = false
  }

  assert {
    condition     = !strcontains(base64decode(aws_launch_template.this["1"].user_data), "FOREBAY_MAINTENANCE")
    error_message = "Brokers do maintenance unless told otherwise."
  }
  assert {
    condition = alltrue([for line in ["FOREBAY_HOT_BYTES=10737418240", "FOREBAY_WAL_STORE=s3://fast--euc1-az1--x-s3", "echo '${var.binary_sha256}  /usr/local/bin/forebay.new' | sha256sum --check --quiet"] :
    contains(split("\n", base64decode(aws_launch_template.this["1"].user_data)), line)])
    error_message = "Settings or the checksum are missing: ${base64decode(aws_launch_template.this["1"].user_data)}"
  }
  assert {
    condition     = length(aws_iam_role_policy_attachment.session_manager) == 0
    error_message = "No way in that was not asked for."
  }
}

run "refuses_what_cannot_be" {
  command = plan

  variables {
    binary   = "https://example.com/forebay"
    settings = { PATH = "/tmp" }
    brokers  = { 0 = { subnet_id = "subnet-a", zone = "a", advertised = "kafka", target_group_arns = [] } }
  }

  expect_failures = [var.binary, var.settings, var.brokers]
}
