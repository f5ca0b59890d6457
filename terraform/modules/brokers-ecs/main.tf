# Brokers on ECS. Each is a service of one task, so that whatever replaces the task has the same node id, zone and
# address. A task's disk is a cache and goes with it.

data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  settings = {
    for id, b in var.brokers : id => merge(
      {
        FOREBAY_NODE_ID              = id
        FOREBAY_RACK                 = b.zone
        FOREBAY_OBJECT_STORE         = var.object_store
        FOREBAY_METADATA             = var.metadata
        FOREBAY_DATA_DIR             = "/var/lib/forebay"
        FOREBAY_LISTENERS            = "PLAINTEXT://0.0.0.0:${var.broker_port}"
        FOREBAY_ADVERTISED_LISTENERS = "PLAINTEXT://${b.advertised}"
        FOREBAY_ADMIN_ADDR           = "0.0.0.0:${var.admin_port}"
      },
      var.wal_store == null ? {} : { FOREBAY_WAL_STORE = var.wal_store },
      var.functions_maintain ? { FOREBAY_MAINTENANCE = "none", FOREBAY_COLLECT_INTERVAL = "-1s" } : {},
      var.settings,
    )
  }

  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Tasks"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role" "task" {
  name                 = "${var.name}-broker"
  description          = "Forebay ${var.name}: brokers"
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "job" {
  name   = "job"
  role   = aws_iam_role.task.id
  policy = var.policy
}

# What ECS itself needs to start a task: the image and the logs.
resource "aws_iam_role" "start" {
  name                 = "${var.name}-broker-start"
  description          = "Forebay ${var.name}: starts brokers"
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy_attachment" "start" {
  role       = aws_iam_role.start.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/forebay/${var.name}/brokers"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
  tags              = var.tags
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "this" {
  for_each = var.brokers

  family                   = "${var.name}-broker-${each.key}"
  requires_compatibilities = [var.launch_type]
  network_mode             = "awsvpc"
  cpu                      = tostring(var.cpu_units)
  memory                   = tostring(var.memory_mb)
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.start.arn
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "amd64" ? "X86_64" : "ARM64"
  }

  dynamic "ephemeral_storage" {
    for_each = var.launch_type == "FARGATE" ? [var.disk_gb] : []

    content {
      size_in_gib = ephemeral_storage.value
    }
  }

  container_definitions = jsonencode([{
    name        = "forebay"
    image       = var.image
    essential   = true
    command     = ["broker"]
    stopTimeout = 60 # SIGTERM gives partitions away, for which a broker takes up to 25 s
    environment = [for k, v in local.settings[each.key] : { name = k, value = v }]

    portMappings = [
      { containerPort = var.broker_port, hostPort = var.broker_port, protocol = "tcp" },
      { containerPort = var.admin_port, hostPort = var.admin_port, protocol = "tcp" },
    ]

    # No health check here: a broker that waits for its stores must not be killed for it, and one that cannot go on
    # ends by itself.

    ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    readonlyRootFilesystem = false # the data directory is on it

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = data.aws_region.current.region
        "awslogs-stream-prefix" = "broker-${each.key}"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  for_each = var.brokers

  name             = "${var.name}-broker-${each.key}"
  cluster          = aws_ecs_cluster.this.arn
  task_definition  = aws_ecs_task_definition.this[each.key].arn
  launch_type      = var.launch_type
  platform_version = var.launch_type == "FARGATE" ? "LATEST" : null
  desired_count    = 1
  propagate_tags   = "SERVICE"
  tags             = var.tags

  # Two brokers of one node id fence each other: the old one goes first.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  health_check_grace_period_seconds  = 300

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = [each.value.subnet_id]
    security_groups  = var.security_group_ids
    assign_public_ip = var.assign_public_ip
  }

  dynamic "load_balancer" {
    for_each = each.value.target_group_arns

    content {
      target_group_arn = load_balancer.value
      container_name   = "forebay"
      container_port   = var.broker_port
    }
  }
}
