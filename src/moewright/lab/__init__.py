"""The lab: training small mixture-of-experts models to test what the laws say."""
