provider "aws" {
  region = "eu-central-1"
}

variables {
  prefix = "events"
}

run "provisioned" {
  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
    provisioned = { read_min = 10, read_max = 100, write_min = 5, write_max = 50 }
  }

  assert {
    condition     = alltrue([for t in aws_dynamodb_table.this : t.billing_mode == "PROVISIONED" && t.read_capacity == 10 && t.write_capacity == 5])
    error_message = "Capacity begins at the minimum."
  }
  assert {
    condition     = aws_appautoscaling_target.write["offsets"].max_capacity == 50 && aws_appautoscaling_target.read["control"].resource_id == "table/events-control"
    error_message = "Both tables are scaled."
  }
  assert {
    condition     = one(aws_appautoscaling_policy.read["control"].target_tracking_scaling_policy_configuration).target_value == 60
    error_message = "Scaled to 60 percent unless told otherwise."
  }
  assert {
    condition     = one(aws_dynamodb_table.this["control"].server_side_encryption).kms_key_arn == "arn:aws:kms:eu-central-1:123456789012:key/1"
    error_message = "Encrypted with the key."
  }
}
