# The two tables of a cluster. Their keys are those with which the driver makes tables itself (create=true), which a
# test compares; the driver refuses a table with others.

locals {
  tables      = toset(["control", "offsets"])
  provisioned = var.provisioned == null ? {} : { for t in local.tables : t => var.provisioned }
}

resource "aws_dynamodb_table" "this" {
  for_each = local.tables

  name                        = "${var.prefix}-${each.key}"
  billing_mode                = var.provisioned == null ? "PAY_PER_REQUEST" : "PROVISIONED"
  read_capacity               = one(var.provisioned[*].read_min)
  write_capacity              = one(var.provisioned[*].write_min)
  hash_key                    = "part"
  range_key                   = "sort"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "part"
    type = "S"
  }

  attribute {
    name = "sort"
    type = "S"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity] # which are scaled
  }
}

resource "aws_appautoscaling_target" "read" {
  for_each = local.provisioned

  service_namespace  = "dynamodb"
  resource_id        = "table/${aws_dynamodb_table.this[each.key].name}"
  scalable_dimension = "dynamodb:table:ReadCapacityUnits"
  min_capacity       = each.value.read_min
  max_capacity       = each.value.read_max
}

resource "aws_appautoscaling_target" "write" {
  for_each = local.provisioned

  service_namespace  = "dynamodb"
  resource_id        = "table/${aws_dynamodb_table.this[each.key].name}"
  scalable_dimension = "dynamodb:table:WriteCapacityUnits"
  min_capacity       = each.value.write_min
  max_capacity       = each.value.write_max
}

resource "aws_appautoscaling_policy" "read" {
  for_each = local.provisioned

  name               = "${var.prefix}-${each.key}-read"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.read[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.read[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.read[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = each.value.target_percent

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "write" {
  for_each = local.provisioned

  name               = "${var.prefix}-${each.key}-write"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.write[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.write[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.write[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = each.value.target_percent

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBWriteCapacityUtilization"
    }
  }
}
