# Brokers on EC2. Each is an Auto Scaling group of one instance, so that whatever replaces the machine has the same
# node id, zone and address; a broker's disk is a cache, and nothing of it needs to be saved.
#
# A new launch template counts for the next machine of a broker. Nothing is replaced by Terraform itself, which would
# replace all brokers at once: see the README for how to roll them one by one.

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture == "amd64" ? "x86_64" : "arm64"}"
}

data "aws_region" "current" {}

locals {
  ami     = var.ami_id == null ? data.aws_ssm_parameter.ami[0].insecure_value : var.ami_id
  package = trimprefix(var.binary, "s3://")

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
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-broker"
  description          = "Forebay ${var.name}: brokers"
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EC2"
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "job" {
  name   = "job"
  role   = aws_iam_role.this.id
  policy = var.policy
}

data "aws_partition" "current" {}

resource "aws_iam_role_policy" "start" {
  name = "start"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "FetchBinary"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["arn:${data.aws_partition.current.partition}:s3:::${local.package}"]
    }]
  })
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  count = var.session_manager ? 1 : 0

  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-broker"
  role = aws_iam_role.this.name
  tags = var.tags
}

resource "aws_launch_template" "this" {
  for_each = var.brokers

  name                   = "${var.name}-broker-${each.key}"
  description            = "Forebay ${var.name}: broker ${each.key}"
  image_id               = local.ami
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids
  update_default_version = true
  ebs_optimized          = true
  tags                   = var.tags

  user_data = base64encode(templatefile("${path.module}/start.sh.tftpl", {
    binary      = var.binary
    sha256      = var.binary_sha256
    region      = data.aws_region.current.region
    environment = join("\n", [for k, v in local.settings[each.key] : "${k}=${v}"])
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 20
      encrypted             = true
      delete_on_termination = true
    }
  }

  # The hot segments, unless the instance has a disk of its own, which is used then.
  block_device_mappings {
    device_name = "/dev/sdf"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.data_volume.size_gb
      iops                  = var.data_volume.iops
      throughput            = var.data_volume.throughput_mbps
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-broker-${each.key}", "forebay:node-id" = each.key })
    }
  }
}

resource "aws_autoscaling_group" "this" {
  for_each = var.brokers

  name                      = "${var.name}-broker-${each.key}"
  min_size                  = 1
  max_size                  = 1
  desired_capacity          = 1
  vpc_zone_identifier       = [each.value.subnet_id]
  target_group_arns         = each.value.target_group_arns
  health_check_type         = "EC2" # a broker that is not ready is for the others to wait for, not to be killed
  health_check_grace_period = 300
  default_instance_warmup   = 60
  termination_policies      = ["OldestInstance"]
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.this[each.key].id
    version = "$Latest"
  }

  # Two brokers of one node id fence each other: the old one goes first.
  instance_maintenance_policy {
    min_healthy_percentage = 0
    max_healthy_percentage = 100
  }

  tag {
    key                 = "forebay:cluster"
    value               = var.name
    propagate_at_launch = true
  }

  dynamic "tag" {
    for_each = var.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
